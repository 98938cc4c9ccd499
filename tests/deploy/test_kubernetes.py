"""The manifests: checked against the schemas of Kubernetes, each other, and what their pods' commands really answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.deployed import DEPLOY, GRACE, answers, finishes_what_it_runs, placed, running, told_to_leave, waiting_for
from tests.deploy.test_docker import DOCKERFILE, entry, environment, image
from tests.rigs.servers.process import HOST
from tests.rigs.servers.redis import RedisServer, available

LINTERS = "what lints deploy/ is in the group dev"
jsonschema = pytest.importorskip("jsonschema", reason=LINTERS)
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=LINTERS)
yaml = pytest.importorskip("yaml", reason=LINTERS)

FOLDER = DEPLOY / "kubernetes"
LIST = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
VERSIONS = ("1.29", "1.37")
"""Of Kubernetes: an old one, and the newest whose schemas there are."""

TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 0}


def strict(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


KEDA = {
    "TriggerAuthentication": strict(
        secretTargetRef={"type": "array", "items": strict(parameter=TEXT, name=TEXT, key=TEXT), "minItems": 1}
    ),
    "ScaledObject": strict(
        scaleTargetRef=strict(name=TEXT),
        minReplicaCount=NUMBER,
        maxReplicaCount=NUMBER,
        pollingInterval=NUMBER,
        cooldownPeriod=NUMBER,
        triggers={
            "type": "array",
            "items": strict(
                type={"const": "metrics-api"},
                metadata=strict(url=TEXT, valueLocation=TEXT, targetValue=TEXT, authMode={"const": "bearer"}),
                authenticationRef=strict(name=TEXT),
            ),
        },
    ),
}
"""What the custom resources of KEDA's v1alpha1 may have, as far as it is used here."""


def parts(text: str | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    """The manifests by kind and name."""
    text = text or together()
    return {(part["kind"], part["metadata"]["name"]): part for part in yaml.safe_load_all(text) if part}


def together() -> str:
    return "\n---\n".join((FOLDER / name).read_text() for name in LIST["resources"])


def container(manifests: dict[tuple[str, str], dict[str, Any]], name: str) -> dict[str, Any]:
    (only,) = manifests["Deployment", name]["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_them(version: str) -> None:
    checked = 0
    for (kind, _), part in parts().items():
        if kind in KEDA:
            jsonschema.validate(part["spec"], KEDA[kind])
        else:
            kubernetes_validate.validate(part, version, strict=True)
            checked += 1
    assert checked >= 8
    wrong = parts()["PodDisruptionBudget", "longboat-worker"]
    wrong["spec"]["maxUnavaliable"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_every_file_is_applied() -> None:
    assert sorted([*LIST["resources"], "kustomization.yaml"]) == sorted(path.name for path in FOLDER.iterdir())
    images = {container(parts(), name)["image"] for name in ("longboat-worker", "longboat-dashboard")}
    assert images == {each["name"] for each in LIST["images"]}


def test_the_parts_know_each_other() -> None:
    all_parts = parts()
    for (kind, name), part in all_parts.items():
        spec = part.get("spec", {})
        if kind == "Deployment":
            labels = spec["template"]["metadata"]["labels"]
            assert spec["selector"]["matchLabels"] == labels == {"app.kubernetes.io/name": name}
            pod, made = spec["template"]["spec"], container(all_parts, name)
            assert {mount["name"] for mount in made["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
            for secret in made["envFrom"]:
                assert ("Secret", secret["secretRef"]["name"]) in all_parts
            assert made["securityContext"]["readOnlyRootFilesystem"]
            assert pod["securityContext"]["runAsUser"] == int(image(DOCKERFILE.read_text())["USER"][0].split(":")[0])
        selectors = [spec.get("podSelector", {}).get("matchLabels"), spec.get("selector")]
        chosen = [each.get("matchLabels", each) for each in selectors if each]
        assert all(("Deployment", each["app.kubernetes.io/name"]) in all_parts for each in chosen)
    for rule in ("longboat-worker", "longboat-dashboard"):
        (ingress,) = all_parts["NetworkPolicy", rule]["spec"]["ingress"]
        assert {port["port"] for port in ingress["ports"]} == {port["name"] for port in container(all_parts, rule)["ports"]}
    (target,) = all_parts["TriggerAuthentication", "longboat-dashboard"]["spec"]["secretTargetRef"]
    assert target["key"] in all_parts["Secret", target["name"]]["stringData"]
    scaled = all_parts["ScaledObject", "longboat-worker"]["spec"]
    assert ("Deployment", scaled["scaleTargetRef"]["name"]) in all_parts
    assert ("TriggerAuthentication", scaled["triggers"][0]["authenticationRef"]["name"]) in all_parts


def test_a_pod_is_given_longer_than_its_grace() -> None:
    pod = parts()["Deployment", "longboat-worker"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= GRACE + 10
    assert f"{GRACE:.0f}s" in pod["containers"][0]["args"]


@pytest.fixture
def manifests(tmp_path: Path) -> Iterator[dict[tuple[str, str], dict[str, Any]]]:
    """With a Redis server in the place of theirs."""
    if reason := available():
        pytest.skip(reason)
    url = parts()["Secret", "longboat"]["stringData"]["LONGBOAT_URL"]
    password = url.split("@")[0].rpartition(":")[2]
    with RedisServer(tmp_path / "redis", password=password) as server:
        yield parts(placed(together(), f"{HOST}:{server.port}")[0])


def started_by(manifests: dict[tuple[str, str], dict[str, Any]], name: str) -> tuple[list[str], dict[str, str]]:
    """The command of a pod, and its environment."""
    made, pod = image(DOCKERFILE.read_text()), container(manifests, name)
    variables = environment(made)
    for secret in pod["envFrom"]:
        variables |= manifests["Secret", secret["secretRef"]["name"]]["stringData"]
    return [*entry(made), *pod["args"]], variables


def probed(pod: dict[str, Any], name: str) -> int:
    """The status that a probe gets; 0: none."""
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    asked = pod[name]["httpGet"]
    return answers(ports[asked["port"]], asked["path"], pod[name].get("timeoutSeconds", 1))


PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.mark.slow
def test_workers_answer_their_probes_and_drain(manifests: dict[tuple[str, str], dict[str, Any]], tmp_path: Path) -> None:
    command, variables = started_by(manifests, "longboat-worker")
    pod = container(manifests, "longboat-worker")
    assert {probed(pod, probe) for probe in PROBES} == {0}
    with running(tmp_path, command, variables) as program:
        for probe in PROBES:
            waiting_for(lambda probe=probe: probed(pod, probe) == 200, program)  # type: ignore[misc]  # a lambda's default
        finishes_what_it_runs(program, variables["LONGBOAT_URL"], tmp_path)


@pytest.mark.slow
def test_the_dashboard_answers_its_probes_and_keda(manifests: dict[tuple[str, str], dict[str, Any]], tmp_path: Path) -> None:
    command, variables = started_by(manifests, "longboat-dashboard")
    pod = container(manifests, "longboat-dashboard")
    with running(tmp_path, command, variables) as program:
        for probe in PROBES:
            waiting_for(lambda probe=probe: probed(pod, probe) == 200, program)  # type: ignore[misc]  # a lambda's default
        (port,) = manifests["Service", "longboat-dashboard"]["spec"]["ports"]
        (trigger,) = manifests["ScaledObject", "longboat-worker"]["spec"]["triggers"]
        place = trigger["metadata"]["url"].removeprefix(f"http://longboat-dashboard:{port['port']}")
        (target,) = manifests["TriggerAuthentication", "longboat-dashboard"]["spec"]["secretTargetRef"]
        token = manifests["Secret", target["name"]]["stringData"][target["key"]]
        headers = {"authorization": f"Bearer {token}", "host": f"longboat-dashboard:{port['port']}"}
        assert answers(pod["ports"][0]["containerPort"], place, 5.0, **headers) == 200
        told_to_leave(program)
