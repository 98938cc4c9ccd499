"""The image and the compose file: linted, and each of their commands run as a container would run it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.deployed import (
    DEPLOY,
    SCRIPTS,
    answers,
    finishes_what_it_runs,
    passes,
    placed,
    running,
    told_to_leave,
    waiting_for,
)
from tests.rigs.servers.process import HOST, free_ports
from tests.rigs.servers.redis import available

yaml = pytest.importorskip("yaml", reason="what lints deploy/ is in the group dev")
if not all((Path(SCRIPTS) / name).exists() for name in ("hadolint", "check-jsonschema")):
    pytest.skip("what lints deploy/ is in the group dev", allow_module_level=True)

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "docker" / "compose.yml"
SECRETS = {"REDIS_PASSWORD": "5ecret0f0rRedis", "LONGBOAT_DASHBOARD_TOKEN": "0f1e2d3c4b5a69788796a5b4"}


def image(text: str) -> dict[str, list[str]]:
    """The instructions of the last stage, by their name, continued lines joined."""
    stage = re.split(r"^FROM ", text.replace("\\\n", " "), flags=re.M)[-1]
    found: dict[str, list[str]] = {}
    for line in stage.splitlines()[1:]:
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            found.setdefault(name, []).append(rest.strip())
    return found


def environment(made: dict[str, list[str]]) -> dict[str, str]:
    pairs = dict(each.split("=", 1) for line in made["ENV"] for each in shlex.split(line))
    return {name: value for name, value in pairs.items() if name != "PATH"}


def entry(made: dict[str, list[str]]) -> list[str]:
    """The entrypoint; without tini where this machine has none."""
    (line,) = made["ENTRYPOINT"]
    words = [str(word) for word in json.loads(line)]
    return words if shutil.which(words[0]) else words[words.index("--") + 1 :]


def services(text: str) -> dict[str, Any]:
    for name, value in SECRETS.items():
        text = re.sub(rf"\$\{{{name}:\?[^}}]*\}}", value, text)
    assert "$" not in text
    return dict(yaml.safe_load(text)["services"])


def probe(service: dict[str, Any]) -> list[str]:
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    return [str(word) for word in command]


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    hadolint = f"{SCRIPTS}/hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text().replace("# hadolint ignore", "# "))
    assert subprocess.run([hadolint, tmp_path / "Dockerfile"], capture_output=True, check=False).returncode != 0


@pytest.mark.slow
def test_the_compose_file_follows_its_schema(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, COMPOSE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "compose.yml").write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace"))
    assert subprocess.run([*command, tmp_path / "compose.yml"], capture_output=True, check=False).returncode != 0


def test_the_image_runs_as_nobody_in_particular() -> None:
    made = image(DOCKERFILE.read_text())
    assert made["USER"] == ["10001:10001"]
    assert all(made[name][0].startswith("[") for name in ("ENTRYPOINT", "CMD")), "a shell would keep the signals"
    assert COMPOSE.read_text().count("<<: *program") == 2


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """A server started by the compose file's command, which its health check finds well; its address."""
    if reason := available():
        pytest.skip(reason)
    service = services(COMPOSE.read_text())["redis"]
    (port,) = free_ports(1)
    folder = tmp_path / "redis"
    folder.mkdir()
    with running(folder, [*service["command"], "--bind", HOST, "--port", str(port)], {}) as server:
        check = [*probe(service), "-h", HOST, "-p", str(port)]
        check[1:] = [*check[-4:], *check[1:-4]]
        assert not passes(check, {"REDISCLI_AUTH": "another"})
        waiting_for(lambda: passes(check, service["environment"]), server)
        yield f"{HOST}:{port}"


@pytest.mark.slow
def test_the_workers_drain_and_are_probed(redis: str, tmp_path: Path) -> None:
    text, _, _ = placed(COMPOSE.read_text(), redis)
    made = image(placed(DOCKERFILE.read_text())[0])
    worker = services(text)["worker"]
    (health,) = made["HEALTHCHECK"]
    check = json.loads(health.partition("CMD ")[2])
    assert check == ["longboat", "check"]
    variables = {**environment(made), **worker["environment"]}
    assert worker["deploy"]["replicas"] == 2
    assert not passes(check, variables)
    with running(tmp_path, [*entry(made), *worker["command"]], variables) as program:
        waiting_for(lambda: passes(check, variables), program)
        finishes_what_it_runs(program, variables["LONGBOAT_URL"], tmp_path)
    assert not passes(check, variables)
    with running(tmp_path, [*entry(made), *json.loads(made["CMD"][0])], variables) as program:
        waiting_for(lambda: passes(check, variables), program)
        told_to_leave(program)


@pytest.mark.slow
def test_the_dashboard_lets_in_the_token(redis: str, tmp_path: Path) -> None:
    text, _, port = placed(COMPOSE.read_text(), redis)
    made = image(placed(DOCKERFILE.read_text())[0])
    service = services(text)["dashboard"]
    variables = {**environment(made), **service["environment"]}
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    with running(tmp_path, [*entry(made), *service["command"], "--port", str(port)], variables) as program:
        waiting_for(lambda: passes(probe(service), variables), program)
        place = "/api/v1/scaling"
        assert answers(port, place) == 401
        assert answers(port, place, authorization=f"Bearer {SECRETS['LONGBOAT_DASHBOARD_TOKEN']}") == 200
        told_to_leave(program)
