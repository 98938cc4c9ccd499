"""What is particular to threads: they are started late, and cannot be ended."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from longboat.executors.contract import CallEnd
from longboat.executors.threads import ThreadExecutor
from longboat.executors.timed_calls import MOST, TimedCalls
from tests.apps import executor_tasks as tasks
from tests.rigs.executor import rigged, until


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("longboat-thread")]


def test_threads_are_started_as_they_are_needed(tmp_path: Path) -> None:
    with rigged("thread", slots=50) as rig:
        assert not threads()
        release = str(tmp_path / "release")
        first = rig.begin(tasks.hold, tmp_path / "begun", release)
        assert len(threads()) == 1
        rig.executor.submit([rig.call(tasks.hold, str(tmp_path / "other"), release) for _ in range(9)])
        assert len(threads()) == 10
        assert all(thread.daemon for thread in threads())
        Path(release).touch()
        rig.wait(10)
        assert rig.result(first) == "released"
        until(lambda: rig.executor.free() == 50)
        assert rig.result(rig.submit(tasks.add, 1, 2)) == 3
        assert len(threads()) == 10


def test_an_abandoned_thread_is_replaced_and_ends_with_its_call(tmp_path: Path) -> None:
    with rigged("thread", slots=2) as rig:
        release = str(tmp_path / "release")
        calls = [rig.begin(tasks.stubborn, tmp_path / f"begun{n}", release) for n in range(2)]
        assert not rig.executor.worn
        for call in calls:
            rig.executor.stop(call, CallEnd.TIMEOUT)
            rig.executor.kill(call)
        assert [rig.reply(call, 1).ending for call in calls] == [CallEnd.TIMEOUT] * 2
        assert rig.executor.worn
        spans = [rig.result(call) for call in [rig.submit(tasks.span, 0.5) for _ in range(2)]]
        assert max(began for began, _ in spans) < min(ended for _, ended in spans)  # both slots are there
        assert len(threads()) == 4
        Path(release).touch()
        until(lambda: len(threads()) == 2)
        assert len(rig.replies) == 4


def test_stop_sets_a_flag_and_nothing_else(tmp_path: Path) -> None:
    with rigged("thread", slots=1) as rig:
        call = rig.begin(tasks.stubborn, tmp_path / "begun", str(tmp_path / "release"))
        rig.executor.stop(call, CallEnd.CANCELLED)
        assert call.handle.stopping
        (tmp_path / "release").touch()
        assert rig.reply(call).ending is CallEnd.RETURNED
        assert not rig.executor.worn


def test_calls_with_a_time_limit_are_shown_while_they_run() -> None:
    timed = TimedCalls()
    with rigged("thread") as rig:
        assert isinstance(rig.executor, ThreadExecutor)
        rig.executor.timed = timed
        stop = threading.Event()
        call = rig.submit(rig.task(lambda: compute_until(stop), timeout=0.001))
        until(lambda: timed.overrun(os.getpid()))
        assert timed.overrun(os.getpid()) == (call.lease.job.id, call.lease.attempt)
        stop.set()
        rig.reply(call)
        assert timed.overrun(os.getpid()) is None


def test_more_calls_than_there_is_room_for_are_not_shown() -> None:
    timed = TimedCalls()
    places = [timed.begin(1.0, "job", 1) for _ in range(MOST + 1)]
    assert len(set(places)) == MOST + 1
    timed.end(places.pop())
    timed.end(places[0])
    assert timed.begin(1.0, "job", 1) == places[0]


def compute_until(stop: threading.Event) -> None:
    while not stop.is_set():
        pass
