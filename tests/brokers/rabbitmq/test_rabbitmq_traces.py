"""RabbitMQ alone: a job is watched by who enqueued it, and what is known of any job is told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from longboat import Longboat, current
from longboat.client import elsewhere
from longboat.contract.kv import Entry
from longboat.core import urls
from longboat.core.job import State
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.observe.events import JobSucceeded
from longboat.observe.history import WORKERS, WorkerRecord, workers
from longboat.observe.stream import EVENTS, EventPublisher, EventStream
from longboat.operate import pauses
from longboat.operate.explain import explain
from longboat.tasks.handle import Update
from tests.rigs.broker import URLS
from tests.rigs.cli import Shell
from tests.rigs.harnesses import _rabbitmq_server, unavailable
from tests.rigs.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable("rabbitmq") is not None, reason=str(unavailable("rabbitmq")))]

GO = threading.Event()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    GO.clear()
    with URLS["rabbitmq"](tmp_path) as url, Longboat(url) as made:

        @made.task(name="count", retries=0)
        def count(fails: bool, tells: bool = True) -> None:
            if tells:
                current().progress(1, 2, "half")
            assert GO.wait(30)
            if fails:
                raise ValueError("no more")

        yield made


def test_a_job_is_watched_until_it_ends(app: Longboat) -> None:
    job = app.registry.tasks["count"].enqueue(True)
    updates: list[Update] = []
    with pytest.raises(Unsupported, match="results="):
        job.status()
    watching = job.watch()
    updates.append(next(watching))
    with app.worker():
        for update in watching:
            updates.append(update)
            if update.text:
                GO.set()
    assert updates[0] == Update(State.READY)
    assert Update(State.RUNNING, 1.0, 2.0, "half") in updates
    assert updates[-1] == Update(State.DEAD, 1.0, 2.0, "half", "no more")
    assert list(job.watch()) == updates[-1:]
    assert job.status() is State.DEAD
    assert [failure.message for failure in job.view().failures] == ["no more"]
    assert (job.view().task, job.view().attempts) == ("count", 1)
    with closing(Longboat(urls.whole(app.url))) as other, pytest.raises(Unsupported, match="results="):
        other.job(job.id).status()


def test_a_job_is_watched_by_who_did_not_enqueue_it(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what workers tell while one listens; a silence ends with a sentence, or with the dead job that it was about."""
    with closing(Longboat(urls.whole(app.url))) as other:
        app.registry.tasks["count"].using(id="mine").enqueue(True)
        watching = other.job("mine").watch()
        updates = [next(watching)]
        with app.worker():
            for update in watching:
                updates.append(update)
                if update.text:
                    GO.set()
        assert updates[0] == Update(State.READY)
        assert Update(State.RUNNING, 1.0, 2.0, "half") in updates
        assert updates[-1] == Update(State.DEAD, 1.0, 2.0, "half", "no more")
        monkeypatch.setattr(elsewhere, "DEAD_AFTER", 0.1)
        assert [update.state for update in other.job("mine").watch()] == [State.READY, State.DEAD]
        monkeypatch.setattr(elsewhere, "UNHEARD", 0.5)
        with pytest.raises(Unsupported, match="nothing was heard of job never for"):
            list(other.job("never").watch())


def test_events_leave_no_entries(app: Longboat) -> None:
    """Each process has a copy of all entries, and room for 64 MB of them."""
    with EventStream.of(app.broker) as listening:
        listening.poll()
        publisher = EventPublisher.of(app.broker, "w")
        for number in range(3):
            publisher.tell(JobSucceeded("w", f"{number}", "t", "q", 1, 0.1))
            publisher.run(float(number))
        told: list[str] = []

        def all_told() -> bool:
            told.extend(each.id for each in listening.poll() if isinstance(each, JobSucceeded))
            return len(told) == 3

        until(all_told, 10)
        assert told == ["0", "1", "2"]
        assert not app.broker.kv.entries(EVENTS)
        _rabbitmq_server().ctl("close_all_connections", "a test")

        def heard_again() -> bool:
            publisher.tell(JobSucceeded("w", "again", "t", "q", 1, 0.1))
            with contextlib.suppress(BrokerUnavailable):
                publisher.run(100.0)
                return any(isinstance(each, JobSucceeded) and each.id == "again" for each in listening.poll())
            return False

        until(heard_again, 10)


def test_it_is_explained_as_far_as_it_is_known(app: Longboat, tmp_path: Path) -> None:
    task, broker = app.registry.tasks["count"], app.broker
    waiting = task.enqueue(True, False)
    why = waiting.client.why(waiting.id)  # what a ResultTimeout says
    assert "queue default: 1 ready, no living worker" in why
    assert waiting.client.unserved(waiting.id).startswith(
        "no living worker serves queue default, where jobs are ready at amqp"
    )
    assert "results=" in why
    pauses.pause(broker.kv, "queue", "default", True)
    assert "queue default: 1 ready, paused" in str(explain(broker, waiting.id))
    pauses.pause(broker.kv, "queue", "default", False)
    with app.worker(threads=1):
        assert not waiting.client.unserved(waiting.id)
        until(lambda: any(record.running for record in workers(broker.kv)), 20)
        assert str(explain(broker, waiting.id)).startswith("it is running on ")
        queued = task.enqueue(False, False)
        queued.cancel()
        assert "the first worker to come to it ends it, unless it has ended" in str(explain(broker, queued.id))
        GO.set()
        until(lambda: "and has ended" in str(explain(broker, queued.id)))
        until(lambda: "failed" in str(explain(broker, waiting.id)), 20)
        assert "ValueError: no more; queue default: 1 worker; whether it is queued" in str(explain(broker, waiting.id))
        misfit = app.send("nobody.knows")
        until(lambda: "it waits for a worker that knows task nobody.knows" in str(explain(broker, misfit.id)), 20)
    quiet = WorkerRecord("q", "", "", 0, "", 0.0, ["default"], [], {}, [], 0, 0, state="quiet")
    broker.kv.write(WORKERS, [Entry("q", msgspec.msgpack.encode(quiet), 60)])
    assert "1 worker but quiet: told to take no more jobs; whether" in str(explain(broker, "elsewhere"))
    broker.kv.write(WORKERS, [Entry("q", None)])
    shell = Shell(tmp_path)
    said = shell.run("explain", waiting.id, "--url", urls.whole(app.url)).out
    assert said.startswith("it died ")
    assert "ValueError: no more" in said
    task.enqueue(False)
    told = [each["what"] for each in json.loads(shell.run("doctor", "--json", "--url", urls.whole(app.url)).out)["problems"]]
    assert told == ["no worker serves default, and jobs are ready there", "1 job is dead"]
    app.broker.inspector.purge([State.DEAD, State.READY])
    said = shell.run("doctor", "--json", "--url", urls.whole(app.url)).out
    assert json.loads(said)["problems"] == [], "a healthy server is healthy"
