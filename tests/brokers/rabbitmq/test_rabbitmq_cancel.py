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
from longboat.core import codec, urls
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


def test_all_jobs_of_a_queue_or_a_task_are_cancelled_by_a_rule(app: Longboat, tmp_path: Path) -> None:
    """Queued, delayed, running and parked ones, as far as they were enqueued before; those of other queues and tasks run."""
    began, ran = threading.Event(), list[str]()

    @app.task(name="wait")
    async def wait() -> None:
        began.set()
        import asyncio

        await asyncio.sleep(60)

    @app.task(name="mail.send")
    def send(to: str) -> None:
        ran.append(to)

    mail = send.using(queue="mail")
    dead = job(task="mail.send", queue="mail", payload=codec.encode({"to": "retried"}), enqueued=1.0, keep=0.0)
    app.broker.put([dead])
    with closing(app.broker.consumer(["mail"], lease=10.0, tasks=["mail.send"])) as consumer:
        settle(consumer, take(consumer), Dead(Failure("x", "y")))
    gone = [
        mail.enqueue("queued"),
        mail.using(delay="1s").enqueue("delayed"),
        app.named("mail.other").using(queue="mail").enqueue(),
    ]
    other, by_task = send.enqueue("other"), app.named("report.x").enqueue()
    shell = Shell(tmp_path)
    told = shell.run("cancel", "--queue", "mail", "--yes", "--url", urls.whole(app.url)).out
    assert told == (
        "all jobs of queue mail that were enqueued before now are cancelled: the first worker to come to each ends it, "
        "and running ones are told to stop\n"
    )
    with app.worker(threads=1, queues=["mail", "default"]):
        running = wait.enqueue()
        assert began.wait(20)
        shell.run("cancel", "--task", "report.*", "--yes", "--url", urls.whole(app.url))
        shell.run("cancel", "--task", "wait", "--queue", "default", "--yes", "--url", urls.whole(app.url))
        for each in (*gone, by_task, running):
            with pytest.raises(JobCancelled, match="cancelled"):
                each.result("20s")
        assert other.result("20s") is None
        assert mail.enqueue("later").result("20s") is None
        assert app.broker.inspector.retry([dead.id]) == [dead.id]
        until(lambda: "retried" in ran, 20)
    assert set(ran) == {"other", "later", "retried"}
    wrong = shell.fails("jobs", "cancel", "queue:mail", "args.to:x", "--yes", "--url", urls.whole(app.url), status=2)
    assert "name a queue, a task or both" in wrong.err


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
