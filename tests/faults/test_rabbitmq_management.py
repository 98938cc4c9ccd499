"""RabbitMQ with its management plugin: all queues are counted, by who used none; without an answer all is as before."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat.brokers.rabbitmq import management
from longboat.brokers.rabbitmq.management import MANY
from longboat.cli.diagnosis import examine
from longboat.connect import connect
from longboat.contract.broker import Settlement
from longboat.contract.optional import diagnosis
from longboat.core.job import Dead, Failure, State
from longboat.testing.conformance.stage import job
from tests.rigs.servers.process import HOST, until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqServer]:
    often = ["collect_statistics_interval = 1000"]  # milliseconds; 5 s else
    made = RabbitmqServer(tmp_path_factory.mktemp("rabbitmq"), options=often, management=True).start()
    yield made
    made.kill()  # it takes seconds to leave by itself


def test_all_queues_are_counted_by_who_used_none(server: RabbitmqServer, tmp_path: Path) -> None:
    url, other = f"{server.url}?prefix={tmp_path.name}", f"{server.url}?prefix={tmp_path.name}.b"
    with closing(connect(url)) as broker, closing(connect(other)) as stranger:
        stranger.put([job(queue="not ours")])
        broker.put([*(job(queue="a.b") for _ in range(4)), *(job(queue="dead.x") for _ in range(2))])
        broker.put([job(queue="a.b", delay=600.0)])
        with (
            closing(broker.consumer(["a.b"], lease=60.0)) as consumer,
            closing(connect(f"{url}&management={server.management_url}")) as looks,
        ):
            dead, *running = consumer.receive(3, wait=10.0)
            assert len(running) == 2
            consumer.settle([Settlement(dead, Dead(Failure("E", "no")))])

            def counted(*states: State) -> dict[tuple[str, State], int]:
                return {place: n for place, n in looks.inspector.counts().items() if place[1] in states}

            now = {("a.b", State.READY): 1, ("a.b", State.DEAD): 1, ("dead.x", State.READY): 2}
            until(lambda: counted(State.READY, State.DEAD) == now, "ready and dead are told as they are", 2.0)
            later = {("a.b", State.RUNNING): 2, (MANY, State.SCHEDULED): 1}
            until(lambda: dict(looks.inspector.counts()) == now | later, "running and scheduled are told", 15.0)
            (view,) = looks.inspector.jobs(State.DEAD).jobs
            assert (view.id, view.queue) == (dead.job.id, "a.b")
            assert looks.inspector.retry([dead.job.id]) == [dead.job.id]
            until(lambda: counted(State.READY)["a.b", State.READY] == 2, "the retried job is counted", 5.0)


@pytest.mark.parametrize("why", ["down", "refused", "frozen", "no such thing"])
def test_without_an_answer_all_is_as_without_the_plugin(
    server: RabbitmqServer, tmp_path: Path, why: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management, "PAUSE", 0.0)
    with socket.create_server((HOST, 0)) as silent:
        where = {
            "down": f"http://{HOST}:1",
            "refused": server.management_url,
            "frozen": f"http://{HOST}:{silent.getsockname()[1]}",
            "no such thing": f"{server.management_url}/elsewhere",
        }[why]
        url = f"{server.url}?prefix={tmp_path.name}&timeout=1s&management={where}"
        if why == "refused":
            server.ctl("add_user", "plain", "secret")
            server.ctl("set_permissions", "plain", ".*", ".*", ".*")
            url = url.replace("guest:guest", "plain:secret")
        with closing(connect(url)) as broker, caplog.at_level(logging.WARNING, "longboat.rabbitmq"):
            broker.put([job(), job(delay=600.0)])
            for _ in range(2):
                began = time.monotonic()
                assert broker.inspector.counts() == {("q", State.READY): 1}
                assert time.monotonic() - began < 3.0
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    assert where.removesuffix("/elsewhere") in caplog.text


def test_policies_that_drop_messages_are_found(server: RabbitmqServer, tmp_path: Path) -> None:
    prefix = tmp_path.name
    url = f"{server.url}?prefix={prefix}&management={server.management_url}"
    with closing(connect(url)) as broker, closing(connect(f"{server.url}?prefix={prefix}")) as unmanaged:
        broker.put([job(queue="a")])

        def found() -> list[str]:
            report = diagnosis(broker)
            assert report is not None
            assert report.facts["server"].startswith("RabbitMQ ")
            assert all(each.serious and prefix in each.advice for each in report.findings)
            return [each.what for each in report.findings]

        def policy(definition: str) -> None:
            server.ctl("set_policy", "drops", f"^{prefix}\\.", definition, "--apply-to", "queues")

        assert found() == []
        try:
            policy('{"message-ttl": 600000, "max-length": 5, "delivery-limit": 3}')
            until(lambda: len(found()) == 3, "all three are told", 15.0)
            for setting, what in zip(["message-ttl", "max-length", "delivery-limit"], found(), strict=True):
                assert setting in what
                assert "policy drops" in what
                assert f"{prefix}.a." in what
            policy('{"max-length": 5, "overflow": "reject-publish", "delivery-limit": 20}')
            until(lambda: found() == [], "what drops nothing is no finding", 15.0)
        finally:
            server.ctl("clear_policy", "drops")
        report = diagnosis(unmanaged)
        assert report is not None
        assert report.findings == []
        assert "?management=" in report.facts["policies"]


@pytest.mark.parametrize("results", [False, True])
def test_doctor_finds_a_healthy_server_healthy(server: RabbitmqServer, tmp_path: Path, results: bool) -> None:
    url = f"{server.url}?prefix={tmp_path.name}"
    findings = examine(f"{url}&results=sqlite:///{tmp_path / 'store.db'}" if results else url)
    assert findings.healthy
    assert findings.facts["server"].startswith("RabbitMQ ")
    assert findings.facts["broker"]["answered_in"] > 0
