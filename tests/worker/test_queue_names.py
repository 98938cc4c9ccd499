"""A worker that is to serve a queue with a misspelt name says so, and serves it."""

from __future__ import annotations

import pytest

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.testing.conformance.stage import job
from longboat.worker.queue_names import unused


@pytest.mark.parametrize(
    ("serves", "said"),
    [
        (["mial"], "no task here is of queue 'mial', and it holds no job; did you mean 'mail'?"),
        (["tenants"], "did you mean 'tenant-7'?"),
        (["xyz"], "and it holds no job; queues known here: default, mail, tenant-7"),
        (["mail", "tenant-7", "default"], ""),
        ([], ""),
    ],
)
def test_a_queue_that_nobody_uses_is_told_of(serves: list[str], said: str) -> None:
    broker = MemoryBroker()
    broker.put([job(queue="tenant-7")])
    found = unused(broker, serves, ["default", "mail"])
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize(("error", "count"), [(BrokerUnavailable("down"), 0), (Unsupported("counts"), 1)])
def test_a_broker_that_cannot_say_stops_no_worker(error: Exception, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = MemoryBroker()

    def fails() -> None:
        raise error

    monkeypatch.setattr(broker.inspector, "counts", fails)
    assert len(unused(broker, ["mial"], ["mail"])) == count


def test_a_worker_warns_and_serves_it(caplog: pytest.LogCaptureFixture) -> None:
    with Longboat("memory://") as app:

        @app.task(name="send", queue="mail")
        async def send() -> int:
            return 1

        with app.worker(queues=["mial"]):
            assert "did you mean 'mail'?" in caplog.text
            assert send.using(queue="mial").enqueue().result(10) == 1
        caplog.clear()
        with app.worker(queues=["mail", "mial"]):
            assert "mail" not in caplog.text, "it holds a job now"
