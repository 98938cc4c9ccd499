"""RabbitMQ alone: a job is cancelled by a revocation, wherever it is, and whoever waits for it is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat import JobCancelled, Longboat
from longboat.connect import connect
from longboat.contract import revoked
from longboat.contract.kv import KV
from longboat.core import urls
from longboat.core.codec import decoded
from longboat.core.job import Dead, Failure, State
from longboat.errors import BrokerFull, BrokerUnavailable
from longboat.observe.events import JobCancelled as Cancelled
from longboat.observe.history import recent
from longboat.testing.conformance.stage import job, settle, take
from tests.rigs.broker import URLS
from tests.rigs.cli import Shell
from tests.rigs.harnesses import _rabbitmq_server, unavailable
from tests.rigs.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable("rabbitmq") is not None, reason=str(unavailable("rabbitmq")))]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    with URLS["rabbitmq"](tmp_path) as url, Longboat(url) as made:
        yield made


def kept(kv: KV, job_id: str) -> revoked.Revocation | None:
    return decoded(kv.read(revoked.NAMESPACE, [job_id])[0], revoked.Revocation)


def test_queued_delayed_and_running_jobs_are_cancelled(app: Longboat, tmp_path: Path) -> None:
    """By the program, by another one and by the command; the worker begins after some of it, and knows all the same."""
    began, ran = threading.Event(), threading.Event()

    @app.task(name="wait")
    async def wait() -> None:
        began.set()
        import asyncio

        await asyncio.sleep(60)

    @app.task(name="job")
    def job() -> None:
        ran.set()

    queued, delayed, last = job.enqueue(), job.using(delay="1s").enqueue(), wait.enqueue()
    assert queued.cancel()
    said = Shell(tmp_path).run("cancel", delayed.id, "never-was", "--url", urls.whole(app.url))
    assert said.out.splitlines() == [
        f"{each}  cancelled, unless it has ended: the first worker to come to it ends it"
        for each in (delayed.id, "never-was")
    ]
    with app.events() as events:
        events.poll()
        with app.worker(threads=1):
            assert began.wait(20)
            assert last.cancel()
            for each in (queued, delayed, last):
                with pytest.raises(JobCancelled, match="cancelled"):
                    each.result("20s")
            told: list[str] = []

            def all_told() -> bool:
                told.extend(each.id for each in events.poll() if isinstance(each, Cancelled))
                return len(told) == 3

            until(all_told, 10)
            kv = app.broker.kv
            until(lambda: sum(tally.cancelled for tally in recent(kv, 0.0, 1e12).values()) == 3, 10)
    assert not ran.is_set()
    assert not queued.cancel(), "it is known here to have ended"
    one, never = kept(kv, queued.id), kept(kv, "never-was")
    assert one is not None
    assert one.ended
    assert never is not None
    assert not never.ended


def test_a_revocation_is_heeded_after_all_connections_were_lost(app: Longboat) -> None:
    """One that was written before, and one after."""
    ran: list[str] = []

    @app.task(name="job")
    def job(name: str) -> None:
        ran.append(name)

    first, second, last = (job.using(delay=delay).enqueue(delay) for delay in ("7s", "8s", "9s"))
    assert first.cancel()
    with app.worker(threads=1), closing(connect(urls.whole(app.url))) as other:
        _rabbitmq_server().ctl("close_all_connections", "a test")

        def cancelled() -> bool:
            with contextlib.suppress(BrokerUnavailable):
                return other.inspector.cancel([second.id]) == [second.id]
            return False

        until(cancelled, 10)
        assert last.result("20s") is None
        for each in (first, second):
            with pytest.raises(JobCancelled):
                each.result("10s")
    assert ran == ["9s"]


def test_a_dead_job_that_is_retried_may_run(app: Longboat) -> None:
    app.broker.put([one := job()])
    with closing(app.broker.consumer(["q"], lease=10.0)) as consumer:
        lease = take(consumer)
        assert app.broker.inspector.cancel([one.id]) == [one.id]
        settle(consumer, lease, Dead(Failure("x", "y")))
        assert [each.id for each in app.broker.inspector.jobs(State.DEAD).jobs] == [one.id]
        assert app.broker.inspector.retry([one.id]) == [one.id]
        assert take(consumer).job.id == one.id


def test_revocations_are_bounded(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoked, "MOST", 2)
    with closing(connect(urls.whole(app.url))) as other:
        other.inspector.cancel(["a", "b"])
        with pytest.raises(BrokerFull, match="longboat purge"):
            other.inspector.cancel(["c"])
