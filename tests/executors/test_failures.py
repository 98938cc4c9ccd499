"""An error in an executor's own threads, or in what it replies to, is told to its owner; calls are handed back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from longboat.executors.contract import CallEnd
from longboat.executors.job_channel import JobChannels
from tests.apps import executor_tasks as tasks
from tests.rigs.executor import KINDS, Rig, rigged, until


def broken(*_: Any) -> Any:
    raise ValueError("broken, says the test")


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_that_fails_at_a_reply_is_told_and_the_next_call_runs(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with rigged(kind) as rig:
        done = rig.done
        monkeypatch.setattr(rig, "done", broken)
        rig.submit(tasks.add, 1, 2)
        until(lambda: rig.failures)
        assert [(part, str(error)) for part, error in rig.failures] == [("replies", "broken, says the test")]
        until(lambda: rig.executor.free() == 2)
        monkeypatch.setattr(rig, "done", done)
        assert rig.result(rig.submit(tasks.add, 1, 2)) == 3


def test_a_thread_that_ends_by_an_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with rigged("thread", slots=1) as rig:
        monkeypatch.setattr(rig.executor, "_run", broken)
        rig.submit(tasks.add, 1, 2)
        until(lambda: rig.failures)
        assert [part for part, _ in rig.failures] == ["thread-1"]
        rig.executor.close(0.0)
        assert rig.replies[0][1].ending is CallEnd.UNSTARTED


def test_a_callback_in_the_loop_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with rigged("async") as rig:
        monkeypatch.setattr(rig.executor, "_start", broken)
        rig.submit(tasks.add, 1, 2)
        until(lambda: rig.failures)
        assert [part for part, _ in rig.failures] == ["event loop"]
        rig.executor.close(0.0)
        assert rig.replies[0][1].ending is CallEnd.UNSTARTED


def test_children_of_a_pool_that_fails_are_killed_and_their_calls_handed_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rigged("process") as rig:
        running = rig.begin(tasks.hold, tmp_path / "begun", str(tmp_path / "release"))
        children = [link.process.pid for link in rig.executor._links]  # type: ignore[attr-defined]  # what this adapter has of its own
        monkeypatch.setattr(rig.executor, "_dispatch", broken)
        waiting = rig.submit(tasks.add, 1, 2)
        until(lambda: rig.failures)
        assert [(part, str(error)) for part, error in rig.failures] == [("processes", "broken, says the test")]
        assert {rig.reply(call).ending for call in (running, waiting)} == {CallEnd.UNSTARTED}
        assert rig.run(tasks.add, 1, 2).ending is CallEnd.UNSTARTED, "it takes no more"
        until(lambda: not any(psutil.pid_exists(pid) for pid in children))


def test_a_job_channel_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rig: Any = Rig("process")
    channels = JobChannels(rig, rig)
    monkeypatch.setattr(channels, "_hear", broken)
    with channels.connect() as theirs:
        theirs.send(b"x")
        until(lambda: rig.failures)
    assert [part for part, _ in rig.failures] == ["job-channels"]
    channels.close()
