"""A real worker on each broker, watched: its events, history, failures and card, and the commands that show them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from longboat import JobFailed, Longboat
from longboat.brokers.manager import Server
from longboat.brokers.memory import MemoryBroker
from longboat.cli.fail import UNHEALTHY, CommandFailed
from longboat.cli.main import command
from longboat.contract.kv import KV, Entry
from longboat.contract.optional import tidy_of
from longboat.core.job import new_id
from longboat.observe.events import (
    Event,
    JobCancelled,
    JobDied,
    JobEnqueued,
    JobEvent,
    JobProgressed,
    JobRetried,
    JobStarted,
    JobSucceeded,
    WorkerStarted,
    WorkerStopped,
)
from longboat.observe.history import GRAINS, failure_groups, slices, workers
from longboat.observe.tally import Tally
from longboat.tasks.handle import Handle
from tests.apps import watched_app
from tests.rigs import harnesses
from tests.rigs.waiting import until

pytestmark = pytest.mark.slow

BROKERS = ("sqlite", "redis", "manager", "postgres", "rabbitmq", "rabbitmq+store")
WITH_LOOKUP = pytest.mark.parametrize("url", [name for name in BROKERS if name != "rabbitmq"], indirect=True)
"""RabbitMQ alone finds no job by its id, to cancel it or to prune it."""


@pytest.fixture(scope="module", autouse=True)
def rabbitmq() -> Iterator[Callable[[], str]]:
    """Starts while the others are tried. Gives what waits for it, and its URL."""
    if harnesses.unavailable("rabbitmq"):
        yield lambda: ""
        return
    starting = threading.Thread(target=harnesses._rabbitmq_server)
    starting.start()

    def url() -> str:
        starting.join()
        return harnesses._rabbitmq_server().url

    yield url
    starting.join()


@contextmanager
def address(name: str, folder: Path, rabbitmq: Callable[[], str]) -> Iterator[str]:
    """The URL of a new store."""
    match name:
        case "sqlite":
            yield f"sqlite:///{folder}/jobs.db"
        case "redis":
            yield f"{harnesses._redis_server().url}?prefix={new_id()}"
        case "postgres":
            url = harnesses._postgres_server().url
            yield f"{url}{'&' if '?' in url else '?'}schema=s{new_id()}"
        case "manager":
            (folder / "key").write_bytes(key := os.urandom(32).hex().encode())
            (folder / "key").chmod(0o600)
            with Server(MemoryBroker(), ("127.0.0.1", 0), key) as server:
                yield f"manager://127.0.0.1:{server.address[1]}?authkey_file={folder}/key"
        case "rabbitmq":
            yield f"{rabbitmq()}?prefix={new_id()}"
        case "rabbitmq+store":
            yield f"{rabbitmq()}?prefix={new_id()}&results=sqlite:///{folder}/store.db"


@pytest.fixture(params=BROKERS)
def url(request: pytest.FixtureRequest, tmp_path: Path, rabbitmq: Callable[[], str]) -> Iterator[str]:
    name: str = request.param
    if why := harnesses.unavailable(name):
        pytest.skip(why)
    with address(name, tmp_path, rabbitmq) as found:
        yield found


@pytest.fixture
def app(url: str) -> Iterator[Longboat]:
    """That of the tasks, here as the caller."""
    watched_app.app.url = url
    yield watched_app.app
    watched_app.app.close()


class Working:
    """A worker's process."""

    def __init__(self, url: str) -> None:
        folder = str(Path(__file__).parents[2])
        words = ["longboat", "worker", "tests.apps.watched_app:app", "-q", "default", "--log-level", "error"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words], env={**os.environ, "LONGBOAT_URL": url, "PYTHONPATH": folder}, cwd=folder
        )

    def __enter__(self) -> Working:
        return self

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def heard(app: Longboat) -> Iterator[list[Event]]:
    """What is heard meanwhile."""
    events: list[Event] = []
    listening = app.events()
    listening.poll()

    def listen() -> None:
        events.extend(listening)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield events
    finally:
        listening.close()
        thread.join(15)
        assert not thread.is_alive()


def of(job: Handle[Any], events: list[Event]) -> list[type]:
    """The kinds of event of a job, as they happened: those of two processes may arrive in another order."""
    mine = [event for event in list(events) if isinstance(event, JobEvent) and event.id == job.id]
    return [type(event) for event in sorted(mine, key=lambda event: event.at)]


def counted(kv: KV, grain: int) -> dict[str, tuple[int, int, int, int]]:
    """By task: succeeded, retried, dead, cancelled."""
    sums: dict[str, Tally] = {}
    for _, some in slices(kv, GRAINS[grain], time.time() - 3 * GRAINS[grain].width, time.time() + 1):
        for (_, task), tally in some.items():
            sums.setdefault(task, Tally()).add(tally)
    return {task: (each.succeeded, each.retried, each.dead, each.cancelled) for task, each in sums.items()}


def shown(url: str, *words: str) -> str:
    """What a command writes; raises what ends it."""
    done = CliRunner().invoke(command, [*words, "--url", url], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


@WITH_LOOKUP
def test_a_worker_is_watched_from_its_start_to_its_end(app: Longboat, url: str) -> None:
    kv = app.broker.kv
    with heard(app) as events, Working(url) as worker:
        until(lambda: any(isinstance(event, WorkerStarted) for event in events))
        good = watched_app.add.enqueue_many([(1, 2)] * 20)
        talking, flaky, held = watched_app.talk.enqueue(), watched_app.flaky.enqueue(), watched_app.hold.enqueue()
        bad = watched_app.broken.enqueue_many([(1,), (23,)])
        assert [job.result(10) for job in good] == [3] * 20
        assert flaky.result(10) == 7
        for died in bad:
            with pytest.raises(JobFailed):
                died.result(10)
        until(lambda: JobStarted in of(held, events))
        until(lambda: any(record.running for record in workers(kv)))
        (record,) = workers(kv)
        assert [task for _, task, _ in record.running] == ["hold"]
        assert record.host == socket.gethostname()
        assert json.loads(shown(url, "workers", "--json"))["pid"] == record.pid
        assert "worker process" in shown(url, "check")
        held.cancel()
        until(lambda: JobCancelled in of(held, events))
        begun = [JobEnqueued, JobStarted]
        for job in good:
            until(lambda job=job: of(job, events) == [*begun, JobSucceeded])  # type: ignore[misc]  # mypy cannot type a default of a lambda
        for died in bad:
            until(lambda died=died: of(died, events) == [*begun, JobDied])  # type: ignore[misc]  # mypy cannot type a default of a lambda
        until(lambda: of(flaky, events) == [*begun, JobRetried, JobStarted, JobSucceeded])
        until(lambda: of(talking, events) == [*begun, JobProgressed, JobSucceeded])
        assert of(held, events) == [*begun, JobCancelled]
        worker.stop()
        until(lambda: any(isinstance(event, WorkerStopped) for event in events))
    progress = talking.progress()
    assert progress is not None
    assert progress.text == "three"
    assert [line.text for line in talking.logs()] == ["I am at three"]
    ran = {"add": (20, 0, 0, 0), "talk": (1, 0, 0, 0), "flaky": (1, 1, 0, 0), "broken": (0, 0, 2, 0), "hold": (0, 0, 0, 1)}
    for grain in range(len(GRAINS)):
        assert counted(kv, grain) == ran
    groups = {group.task: (group.count, group.type) for group in failure_groups(kv)}
    assert groups == {"broken": (2, "ValueError"), "flaky": (1, "KeyError")}
    assert not workers(kv)
    text = shown(url, "top", "--once")
    assert "workers: 0" in text
    assert {"add", "talk", "flaky", "broken", "hold"} <= set(text.split())


def test_a_card_of_one_who_was_killed_goes(app: Longboat, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.worker.record_writer.WORKER_KEPT", 0.5)
    with app.worker(queues=["default"]) as worker:
        until(lambda: workers(app.broker.kv))
        worker._record_writer.leave = lambda: None  # type: ignore[method-assign]  # what is called is watched
    until(lambda: not workers(app.broker.kv))
    with pytest.raises(CommandFailed, match="no worker of") as failed:
        shown(url, "check")
    assert failed.value.status == UNHEALTHY


@WITH_LOOKUP
def test_notes_whose_time_is_over_are_deleted_as_fast_as_they_come(app: Longboat, url: str) -> None:
    broker = app.broker
    entries = [Entry(f"{number}", b"x", 0.05) for number in range(2500)]
    broker.kv.write("history", entries)
    time.sleep(0.1)
    gone = 0
    while some := broker.inspector.prune():
        gone += some
    assert gone >= len(entries) or url.startswith("manager:"), "what is in memory is not counted"
    broker.kv.write("history", entries)
    time.sleep(0.1)
    tidy = tidy_of(broker)
    if url.startswith("amqp:"):
        assert tidy is not None
        until(lambda: tidy.tidy(5.0) > 0.0)
        assert not broker.inspector.prune()
