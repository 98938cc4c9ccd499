"""How a worker takes, holds and hands back jobs, and what it does when its broker or its lease fails it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from longboat import BrokerUnavailable, Longboat, State, gather
from longboat.core.job import Failure
from longboat.worker import broker_link, leases
from tests.apps.worker_tasks import calls, limit
from tests.rigs.waiting import until


def running(app: Longboat) -> int:
    return app.broker.inspector.counts().get(("default", State.RUNNING), 0)


def test_burst_leaves_when_nothing_is_ready(app: Longboat, tasks: Any) -> None:
    jobs = tasks.add.enqueue_many([(n, 1) for n in range(500)])
    later = tasks.add.using(delay="1h").enqueue(1, 1)
    worker = app.worker(burst=True)
    with worker:
        assert worker.finished.wait(30)
    assert worker.reason == "burst"
    assert {job.status() for job in jobs} == {State.SUCCEEDED}
    assert later.status() is State.SCHEDULED


def test_the_end_waits_for_what_runs(app: Longboat, tasks: Any) -> None:
    with app.worker():
        job = tasks.hold.enqueue()
        until(lambda: calls == ["held"])
        threading.Timer(0.2, limit.set).start()
    assert job.status() is State.SUCCEEDED


def test_what_does_not_end_within_the_grace_is_handed_back_uncharged(app: Longboat, tasks: Any) -> None:
    with app.worker(threads=1, grace=0.1):
        job, behind = tasks.hold.enqueue(), tasks.hold.enqueue()
        until(lambda: calls == ["held"])
    assert [(each.status(), each.view().attempts) for each in (job, behind)] == [(State.READY, 0)] * 2
    limit.set()
    with app.worker():
        assert gather(job, behind).result(timeout=10) == ["released"] * 2


def test_closing_again_shortens_the_grace(app: Longboat, tasks: Any) -> None:
    worker = app.worker(grace=60)
    with worker:
        job = tasks.hold.enqueue()
        until(lambda: calls == ["held"])
        closing = threading.Thread(target=worker.close)
        closing.start()
        worker.close(0.0)
        closing.join(10)
        assert not closing.is_alive()
    assert job.status() is State.READY


def test_slow_jobs_are_not_hoarded(app: Longboat, tasks: Any) -> None:
    tasks.hold.enqueue_many([()] * 50)
    with app.worker(threads=2):
        until(lambda: len(calls) == 2)
        assert running(app) <= 4
        limit.set()


def test_what_came_too_much_for_an_executor_goes_back(app: Longboat, tasks: Any) -> None:
    """A thousand quick coroutines, and then suddenly slow jobs for two threads."""
    quick = tasks.add.enqueue_many([(n, 0) for n in range(3000)])
    tasks.hold.enqueue_many([()] * 500)
    with app.worker(threads=2):
        gather(*quick).result(timeout=30)
        until(lambda: len(calls) == 2)
        until(lambda: running(app) <= 12)
        limit.set()


def test_a_worker_that_lost_its_leases_goes_on_with_new_ones(
    app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "KILL_AFTER", 0.2)
    with app.worker(threads=2) as worker:
        job = tasks.hold.enqueue()
        until(lambda: calls == ["held"])
        app.broker.evict(worker.link.consumer().id, Failure("longboat.WorkerDied", "so the test says"))
        until(lambda: calls == ["held"] * 2)
        assert tasks.thread.enqueue(1, 2).result(timeout=20) == 3
        limit.set()
        assert job.result(timeout=20) == "released"
    assert job.view().attempts <= 2


def test_an_outage_loses_nothing(app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb of the consumer fails for a while, in the midst of work."""
    down = threading.Event()

    def failing(verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if down.is_set():
                raise BrokerUnavailable("down, says the test")
            return verb(*args, **kwargs)

        return call

    make = app.broker.consumer

    def consumer(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        for name in ("receive", "settle", "extend"):
            monkeypatch.setattr(made, name, failing(getattr(made, name)))
        return made

    monkeypatch.setattr(app.broker, "consumer", consumer)
    monkeypatch.setattr(broker_link, "PAUSES", (0.01,))
    with app.worker():
        job = tasks.hold.enqueue()
        until(lambda: calls == ["held"])
        down.set()
        limit.set()
        others = tasks.add.enqueue_many([(n, 0) for n in range(100)])
        assert job.status() is State.RUNNING
        down.clear()
        assert job.result(timeout=20) == "released"
        assert gather(*others).result(timeout=20) == list(range(100))
    assert {each.view().attempts for each in (job, *others)} == {1}


@pytest.mark.parametrize(("deaths", "together"), [(1, 3), (2, 1)])
def test_jobs_of_dead_workers_run_apart(app: Longboat, tasks: Any, deaths: int, together: int) -> None:
    """After one death in a group, after two one by one; each noted before it starts."""
    jobs = tasks.hold.enqueue_many([()] * 3)
    for _ in range(deaths):
        dead = app.broker.consumer([], lease=30.0)
        assert len(dead.receive(3, wait=5.0)) == 3
        app.broker.evict(dead.id, Failure("longboat.WorkerDied", "so the test says"))
    with app.worker(threads=3) as worker:
        until(lambda: len(calls) == together and running(app) == 3)
        assert len(calls) == together
        now = worker.link.consumer().id
        assert app.broker.evict(now, Failure("longboat.WorkerDied", "so the test says")) == 3
        assert sorted(job.view().attempts for job in jobs) == [0] * (3 - together) + [1] * together
        limit.set()
        assert gather(*jobs).result(timeout=20) == ["released"] * 3


def test_named_queues_are_served_in_their_order(app: Longboat, tasks: Any) -> None:
    low = tasks.thread.using(queue="low").enqueue_many([(n, 0) for n in range(3)])
    high = tasks.thread.using(queue="high").enqueue_many([(n, 1) for n in range(3)])
    other = tasks.thread.using(queue="other").enqueue(9, 9)
    with app.worker(queues=["high", "low"], threads=1):
        gather(*low, *high).result(timeout=10)
    assert calls == [(n, 1) for n in range(3)] + [(n, 0) for n in range(3)]
    assert other.status() is State.READY
