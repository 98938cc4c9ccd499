"""What people command a worker to do: take no more jobs, take them again, stop."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import msgspec
import pytest

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.contract.kv import Entry
from longboat.core.job import State
from longboat.observe.history import WORKERS, WorkerRecord, workers
from longboat.operate.commands import KEPT, NAMESPACE, Command, give, take
from longboat.operate.stacks import latest
from longboat.worker.remote_commands import RemoteCommands
from longboat.worker.stacks import StackWriter
from tests.apps import worker_tasks
from tests.rigs.waiting import until

NAME = f"{socket.gethostname()}:{os.getpid()}"


def state_of(app: Longboat) -> str:
    return next((record.state for record in workers(app.broker.kv)), "gone")


def record(name: str, id: str = "", started: float = 0.0) -> Entry:
    made = WorkerRecord(name, "c", "h", 1, "1", started, [], [], {}, [], 0, 0, id=id)
    return Entry(id or name, msgspec.msgpack.encode(made))


def test_a_command_needs_a_worker_and_is_taken_once() -> None:
    kv = MemoryBroker().kv
    assert not give(kv, "w", Command.QUIET)
    assert take(kv, "w") is None
    kv.write(WORKERS, [record("w")])
    assert give(kv, "w", Command.QUIET)
    assert give(kv, "w", Command.STOP), "it replaces the one before"
    assert (take(kv, "other"), take(kv, "w"), take(kv, "w")) == (None, Command.STOP, None)
    kv.write(NAMESPACE, [Entry("w", b"dance", KEPT)])
    assert take(kv, "w") is None, "of another version"


def test_workers_of_one_name_are_told_apart() -> None:
    """Containers may share a host's name, and their process ids are alike."""
    kv = MemoryBroker().kv
    kv.write(WORKERS, [record("h:7", "b", 2.0), record("h:7", "a", 3.0), record("h:7-2", "c", 1.0), record("h:7", "d", 1.0)])
    assert [(each.name, each.id) for each in workers(kv)] == [("h:7", "d"), ("h:7-2", "c"), ("h:7-3", "b"), ("h:7-4", "a")]
    assert give(kv, "h:7-3", Command.STOP)
    assert [take(kv, each) for each in "abcd"] == [None, Command.STOP, None, None]


def test_a_command_for_an_earlier_worker_of_the_same_name_is_not_obeyed() -> None:
    with Longboat("memory://") as app:
        worker, kv = app.worker(), app.broker.kv
        stacks = StackWriter(kv, worker._in_flight, worker._executors)
        commands = RemoteCommands(kv, worker.status, worker._fetcher, worker._record_writer, stacks)
        kv.write(WORKERS, [record(NAME, "earlier")])
        give(kv, NAME, Command.STOP)
        assert commands.run(100.0) == 101.0
        assert worker.status.state == "working"
        kv.write(WORKERS, [record(NAME, worker._record_writer.id), Entry("earlier", None)])
        give(kv, NAME, Command.QUIET)
        commands.run(101.0)
        assert worker.status.state == "quiet"
        worker.close()


def test_a_quiet_worker_takes_no_more_jobs_and_finishes_what_runs(app: Longboat, tasks: Any) -> None:
    with app.worker(threads=2) as worker:
        running = tasks.hold.enqueue()
        until(lambda: len(worker._in_flight.calls) == 1)
        until(lambda: state_of(app) == "working")
        assert give(app.broker.kv, NAME, Command.QUIET)
        until(lambda: state_of(app) == "quiet")
        later = tasks.add.enqueue(1, 2)
        worker_tasks.limit.set()
        running.result(timeout=10)
        with pytest.raises(TimeoutError):
            later.result(timeout=1.0)
        assert app.broker.inspector.find([later.id])[0].state is State.READY  # type: ignore[union-attr]  # it is there
        give(app.broker.kv, NAME, Command.RESUME)
        assert later.result(timeout=10) == 3
        until(lambda: state_of(app) == "working")


def test_a_worker_tells_where_its_jobs_are(app: Longboat, tasks: Any) -> None:
    with app.worker(threads=2) as worker:
        held, waits = tasks.hold.enqueue(), tasks.wait.enqueue()
        until(lambda: sum(call.started > 0 for call in list(worker._in_flight.calls)) == 2)
        until(lambda: state_of(app) == "working")
        give(app.broker.kv, NAME, Command.STACKS)
        until(lambda: latest(app.broker.kv, worker._record_writer.id))
        told = latest(app.broker.kv, worker._record_writer.id)
        worker_tasks.limit.set()
        waits.cancel()
    assert told is not None
    found = {job.id: job for job in told.jobs}
    assert found.keys() == {held.id, waits.id}
    assert [found[held.id].task, found[waits.id].task] == ["hold", "wait"]
    for job in told.jobs:
        assert 'worker_tasks.py", line' in job.stack.splitlines()[0]
        assert f"in {job.task}" in job.stack.splitlines()[0]


def test_to_be_asked_for_stacks_replaces_no_other_command() -> None:
    kv = MemoryBroker().kv
    kv.write(WORKERS, [record("w")])
    give(kv, "w", Command.STOP)
    give(kv, "w", Command.STACKS)
    assert [take(kv, "w") for _ in range(3)] == [Command.STOP, Command.STACKS, None]


def test_of_two_workers_in_one_program_each_is_shown_and_only_the_named_one_stops(app: Longboat) -> None:
    with app.worker(threads=1) as first, app.worker(threads=1) as second:
        assert (first.name, second.name) == (NAME, f"{NAME}-2")
        until(lambda: [record.name for record in workers(app.broker.kv)] == [first.name, second.name])
        assert sorted(view.name for view in app.broker.inspector.consumers()) == [first.name, second.name]
        give(app.broker.kv, second.name, Command.STOP)
        until(lambda: second.reason == "commanded" and state_of(app) == "working")
        assert not first.finished.is_set()
    with app.worker(threads=1) as again:
        assert again.name == NAME


def test_a_worker_inside_a_program_that_is_told_to_stop_finishes_and_closes(app: Longboat, tasks: Any) -> None:
    with app.worker(threads=2) as worker:
        running = tasks.hold.enqueue()
        until(lambda: len(worker._in_flight.calls) == 1)
        until(lambda: state_of(app) == "working")
        give(app.broker.kv, NAME, Command.STOP)
        until(lambda: state_of(app) == "stopping")
        assert worker.reason == "commanded"
        give(app.broker.kv, NAME, Command.RESUME)
        later = tasks.add.enqueue(1, 2)
        worker_tasks.limit.set()
        running.result(timeout=10)
        until(lambda: state_of(app) == "gone")
        until(lambda: not any(each.name == "longboat-fetcher" for each in threading.enumerate()))
        assert app.broker.inspector.find([later.id])[0].state is State.READY  # type: ignore[union-attr]  # it is there
