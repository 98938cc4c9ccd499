"""What a worker writes: its own lines, and those of jobs on each executor, whoever has set up logging."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rigs.cli import Shell

pytestmark = pytest.mark.slow

TASKS = """
import logging
import logging.config
from longboat import Longboat

{set_up}
app = Longboat()
log = logging.getLogger("shop.mail")

def say(what: str) -> None:
    log.info("%s says", what, extra={{"order": 7, "kind": object}})
    log.debug("not this")
    try:
        raise KeyError("gone")
    except KeyError:
        log.exception("oh")

@app.task
async def coroutine() -> None:
    say("coroutine")

@app.task
def thread() -> None:
    say("thread")

@app.task(executor="process")
def process() -> None:
    say("process")
"""

NAMES = ("coroutine", "thread", "process")

BASIC = "logging.basicConfig(level='INFO', format='MINE %(levelname)s %(name)s %(message)s')"
WHOLE = """
logging.config.dictConfig({
    "version": 1,
    "formatters": {"f": {"format": "MINE %(levelname)s %(name)s %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
    "root": {"level": "INFO", "handlers": ["h"]},
})
"""
ONE = """
logging.config.dictConfig({
    "version": 1,
    "formatters": {"f": {"format": "MINE %(levelname)s %(name)s %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
    "loggers": {"shop": {"level": "INFO", "handlers": ["h"]}},
})
"""


def ran(folder: Path, set_up: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The lines of a worker that ran a job of each executor, and the ids of the jobs by their name."""
    (folder / "tasks.py").write_text(TASKS.format(set_up=set_up))
    shell = Shell(folder)
    ids = {name: shell.run("enqueue", f"tasks.{name}").out.strip() for name in NAMES}
    lines = shell.run("worker", "--burst", *arguments).err.splitlines()
    for name in NAMES:
        with_job = shell.run("jobs", "show", ids[name], "--json").out
        assert json.loads(with_job)["state"] == "succeeded"
    return lines, ids


def kept(folder: Path, ids: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    from longboat import Longboat

    with Longboat(f"sqlite:///{folder}/longboat.db") as app:
        return {name: [(line.level, line.text.partition("\n")[0]) for line in app.job(ids[name]).logs()] for name in NAMES}


def one(lines: list[str], part: str) -> str:
    found = [line for line in lines if part in line]
    assert len(found) == 1, (part, lines)
    return found[0]


def test_executors_log_alike(tmp_path: Path) -> None:
    lines, ids = ran(tmp_path, "")
    for name in NAMES:
        assert one(lines, f"{name} says").endswith(f"INFO shop.mail: tasks.{name} [{ids[name]}] {name} says")
        assert one(lines, f"ERROR shop.mail: tasks.{name} [{ids[name]}] oh")
        assert one(lines, f"INFO longboat.worker: tasks.{name} [{ids[name]}] succeeded in")
    assert lines.count("  KeyError: 'gone'") == len(NAMES)
    assert "not this" not in "".join(lines)
    assert kept(tmp_path, ids) == {name: [("INFO", f"{name} says"), ("ERROR", "oh")] for name in NAMES}


def test_executors_log_alike_as_json(tmp_path: Path) -> None:
    lines, ids = ran(tmp_path, "", "--log-format", "json")
    for name in NAMES:
        said = json.loads(one(lines, f"{name} says"))
        assert (said["job"], said["task"], said["logger"]) == (ids[name], f"tasks.{name}", "shop.mail")
        assert said["extra"] == {"order": 7, "kind": "<class 'object'>"}
    trouble = [json.loads(line) for line in lines if '"oh"' in line]
    assert sorted(said["job"] for said in trouble) == sorted(ids.values())
    assert all("KeyError: 'gone'" in said["traceback"] for said in trouble)


@pytest.mark.parametrize(("set_up", "ours"), [(BASIC, "MINE INFO "), (WHOLE, "MINE INFO "), (ONE, "INFO ")])
def test_an_app_that_sets_up_logging_keeps_it(tmp_path: Path, set_up: str, ours: str) -> None:
    """And Longboat's lines do not vanish, although dictConfig disables loggers that it does not name."""
    lines, ids = ran(tmp_path, set_up)
    for name in NAMES:
        assert one(lines, f"{name} says") == f"MINE INFO shop.mail {name} says"
    assert f"{ours}longboat.worker" in one(lines, "serves every queue")
    assert f"{ours}longboat.worker" in one(lines, f"tasks.process [{ids['process']}] succeeded")
    assert kept(tmp_path, ids) == {name: [("INFO", f"{name} says"), ("ERROR", "oh")] for name in NAMES}
