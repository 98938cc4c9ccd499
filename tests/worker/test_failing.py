"""A worker inside this program whose own threads fail: it stops, hands back its jobs, says why, and harms nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from longboat import Longboat, State, gather
from longboat.core.job import Done, Failure
from longboat.errors import BrokerError, BrokerMisconfigured, JobFailed, WorkerFailed
from longboat.worker import broker_link
from longboat.worker.maintenance import MaintenanceLoop
from longboat.worker.quarantine import Quarantine
from tests.apps.worker_tasks import calls, limit
from tests.rigs.waiting import until
from tests.worker.test_health import get, url_of


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("broken, says the test")


def refused(*_: Any, **__: Any) -> Any:
    raise BrokerMisconfigured("refused, says the test")


def break_consumer(
    app: Longboat, verb: str, monkeypatch: pytest.MonkeyPatch, fails: Callable[[], object] = broken
) -> threading.Event:
    """Once the event is set, that verb of this app's consumers fails: unless told how, with what no broker should raise."""
    down, make = threading.Event(), app.broker.consumer

    def consumer(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        real = getattr(made, verb)

        def call(*args: Any, **kwargs: Any) -> Any:
            if down.is_set() and (verb != "settle" or args[0]):
                fails()
            return real(*args, **kwargs)

        monkeypatch.setattr(made, verb, call)
        return made

    monkeypatch.setattr(app.broker, "consumer", consumer)
    return down


@pytest.mark.parametrize(("verb", "part"), [("receive", "fetcher"), ("settle", "settler"), ("extend", "leases")])
def test_it_stops_and_leaving_the_block_raises(
    app: Longboat, tasks: Any, verb: str, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    down = break_consumer(app, verb, monkeypatch)
    reason = f"the {part} failed: ValueError: broken, says the test"
    worker = app.worker(threads=1, health_port=0, lease=3)
    with pytest.raises(WorkerFailed, match=reason) as caught, worker:  # noqa: PT012  # a whole life
        url = url_of(worker)
        held = tasks.hold.enqueue()
        until(lambda: calls == ["held"])
        down.set()
        others = tasks.add.enqueue_many([(n, 1) for n in range(5)])
        assert worker.finished.wait(10)
        assert worker.reason == reason
        assert get(url, "/livez") == (503, f"{reason}\n")
        assert get(url, "/readyz") == (503, f"{reason}\n")
        until(lambda: held.status() is State.READY)
        assert get(url, "/livez")[0] == 503, "until the block is left"
    assert isinstance(caught.value.__cause__, ValueError)
    assert f"the worker's {part} failed" in caplog.text
    assert "in broken" in caplog.text
    assert held.view().attempts == 0
    down.clear()
    limit.set()
    with app.worker():
        assert gather(held, *others).result(timeout=20) == ["released", 1, 2, 3, 4, 5]


@pytest.mark.parametrize("verb", ["extend", "close"])
def test_a_refusal_is_an_outage_whoever_meets_it(
    app: Longboat, tasks: Any, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when what this worker held is lost meanwhile."""
    down = break_consumer(app, verb, monkeypatch, refused)
    with app.worker(threads=1, lease=6) as worker:
        assert tasks.add.enqueue(1, 2).result(timeout=10) == 3
        consumer = worker.link.consumer()
        down.set()
        app.broker.evict(consumer.id, Failure("tests.Evicted", "by the test"))
        until(lambda: verb == "extend" or worker.link.consumer() is not consumer)
        down.clear()
        assert tasks.add.enqueue(2, 2).result(timeout=10) == 4
        assert worker.reason == ""


def test_an_error_of_the_block_itself_is_not_hidden(app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  # as its protocol has it
    monkeypatch.setattr(MaintenanceLoop, "_round", broken)
    worker = app.worker()
    with pytest.raises(KeyError), worker:  # noqa: PT012  # a whole life
        worker.finished.wait(10)
        raise KeyError("mine")


def test_a_worker_that_is_awaited_fails_in_the_same_way(app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  # as its protocol has it
    monkeypatch.setattr(MaintenanceLoop, "_round", broken)

    async def main() -> None:
        async with app.worker() as worker:
            await asyncio.to_thread(worker.finished.wait, 10)

    with pytest.raises(WorkerFailed, match="maintenance"):
        asyncio.run(main())


@pytest.mark.parametrize("how", ["stop", "exit"])
def test_a_task_that_stops_the_loop_stops_no_worker(
    app: Longboat, tasks: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave() -> None:
        raise SystemExit(5)

    @app.task(name="stop_the_loop")
    async def stop_the_loop() -> str:
        if how == "stop":
            asyncio.get_running_loop().stop()
        else:
            left = asyncio.create_task(leave())
        await asyncio.sleep(0.1)
        assert how == "stop" or left.done()
        return "went on"

    with app.worker():
        assert stop_the_loop.enqueue().result(timeout=10) == "went on"
        assert tasks.add.enqueue(1, 2).result(timeout=10) == 3
    assert "a task has stopped the event loop" in caplog.text


def test_one_that_fails_while_it_closes_ends_all_the_same(
    app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quarantine, "empty", broken)
    worker = app.worker()
    with pytest.raises(WorkerFailed, match="the quarantine failed"), worker:  # noqa: PT012  # a whole life
        job = tasks.add.enqueue(1, 2)
        assert job.result(timeout=10) == 3
    assert not [each for each in threading.enumerate() if each.name in ("longboat-fetcher", "longboat-leases")]


def test_a_failure_while_it_waits_for_long_jobs_shortens_the_wait(
    app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = break_consumer(app, "extend", monkeypatch)
    worker = app.worker(threads=1, lease=3, grace="1h")
    with pytest.raises(WorkerFailed, match="leases"), worker:  # noqa: PT012  # a whole life
        held = tasks.hold.enqueue()
        until(lambda: calls == ["held"])
        closing = threading.Thread(target=worker.close)
        closing.start()
        down.set()
        closing.join(10)
        assert not closing.is_alive()
        assert held.status() is State.READY


@pytest.mark.parametrize("error", [ValueError, BrokerError, OverflowError])
def test_an_outcome_that_is_refused_is_that_jobs_death(
    error: type[Exception], app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single outcome that the broker chokes on: its job is dead with the reason, and the worker goes on."""
    bad = tasks.add.using(id="bad").enqueue(0, 0)
    good = tasks.add.enqueue_many([(n, 1) for n in range(10)])
    make = app.broker.consumer

    def consumer(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        settle = made.settle

        def picky(settlements: Any, **more: Any) -> Any:
            if any(each.lease.job.id == "bad" and isinstance(each.outcome, Done) for each in settlements):
                raise error("broken, says the test")
            return settle(settlements, **more)

        monkeypatch.setattr(made, "settle", picky)
        return made

    monkeypatch.setattr(app.broker, "consumer", consumer)
    with app.worker():
        assert gather(*good).result(timeout=10) == [n + 1 for n in range(10)]
        with pytest.raises(JobFailed, match=f"longboat.Unsettled: .*{error.__name__}: broken, says the test"):
            bad.result(timeout=10)


@pytest.mark.parametrize("most", [1, 100])
def test_a_broker_that_refuses_all_for_a_while_changes_no_outcome(
    most: int, app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a file that has become read-only does: what ended meanwhile is settled as it ended."""
    monkeypatch.setattr(broker_link, "PAUSES", (0.02,))
    jobs = tasks.add.enqueue_many([(n, 1) for n in range(most)])
    refused: list[int] = []
    make = app.broker.consumer

    def consumer(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        settle = made.settle

        def settling(settlements: Any, **more: Any) -> Any:
            if settlements and len(refused) < 60:
                refused.append(len(settlements))
                raise BrokerError("attempt to write a readonly database")
            return settle(settlements, **more)

        monkeypatch.setattr(made, "settle", settling)
        return made

    monkeypatch.setattr(app.broker, "consumer", consumer)
    with app.worker():
        assert gather(*jobs).result(timeout=60) == [n + 1 for n in range(most)]
    assert len(refused) == 60
    assert "is refused: it is dead" not in caplog.text
