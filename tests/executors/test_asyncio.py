"""What is particular to coroutines: the loop they share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from longboat.executors.asyncio import AsyncioExecutor
from longboat.executors.contract import CallEnd
from tests.apps import executor_tasks as tasks
from tests.rigs.executor import Rig, rigged, running_loop, until


async def cancel_oneself() -> None:
    inner: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    inner.cancel()
    await inner


async def block(begun: str, release: str) -> str:
    Path(begun).touch()
    while not Path(release).exists():
        time.sleep(tasks.TICK)
    return "released"


def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    with rigged("async") as rig:
        reply = rig.run(cancel_oneself)
        assert reply.ending is CallEnd.RAISED
        assert reply.failure is not None
        assert reply.failure.type == "asyncio.exceptions.CancelledError"


def test_a_call_in_a_loop_that_is_blocked_is_killed_promptly(tmp_path: Path) -> None:
    with rigged("async") as rig:
        call = rig.begin(block, tmp_path / "begun", str(tmp_path / "release"))
        waiting = rig.submit(tasks.add, 1, 2)
        assert "in block\n" in rig.executor.stack(call).splitlines(keepends=True)[0]
        rig.executor.stop(call, CallEnd.TIMEOUT)
        rig.executor.kill(call)
        assert rig.reply(call, 1).ending is CallEnd.TIMEOUT
        rig.executor.stop(waiting, CallEnd.CANCELLED)
        rig.executor.kill(waiting)
        assert rig.reply(waiting, 1).ending is CallEnd.CANCELLED
        (tmp_path / "release").touch()
        assert rig.result(rig.submit(tasks.add, 1, 2)) == 3
        assert waiting.started == 0.0


def test_a_call_that_is_stopped_before_its_first_step_never_runs(tmp_path: Path) -> None:
    with rigged("async") as rig:
        first = rig.begin(block, tmp_path / "begun", str(tmp_path / "release"))
        second = rig.submit(tasks.log, str(tmp_path / "log"), "ran")
        loop: asyncio.AbstractEventLoop = rig.executor.loop  # type: ignore[attr-defined]  # of this executor
        loop.call_soon_threadsafe(lambda: rig.executor.stop(second, CallEnd.CANCELLED))
        loop.call_soon_threadsafe(lambda: rig.executor._cancel(second))  # type: ignore[attr-defined]  # what this adapter has of its own
        (tmp_path / "release").touch()
        assert rig.result(first) == "released"
        assert rig.reply(second).ending is CallEnd.CANCELLED
        assert not (tmp_path / "log").exists()


class CountingLoop(asyncio.SelectorEventLoop):
    calls = 0

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:  # type: ignore[override]  # it passes all on
        self.calls += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def test_the_loop_is_woken_once_for_many_calls() -> None:
    with running_loop(CountingLoop) as loop:
        assert isinstance(loop, CountingLoop)
        rig = Rig("async")
        rig.executor = AsyncioExecutor(3, rig, loop)
        rig.executor.submit([rig.call(tasks.add, n, 1) for n in range(1000)])
        rig.wait(1000)
        assert loop.calls == 1
        rig.executor.close(1)


def test_it_runs_on_uvloop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    with running_loop(uvloop.new_event_loop) as loop:
        rig = Rig("async")
        rig.executor = AsyncioExecutor(2, rig, loop)
        rig.executor.submit([rig.call(tasks.add, n, 1) for n in range(1000)])
        rig.wait(1000)
        call = rig.begin(tasks.hold, tmp_path / "begun", str(tmp_path / "release"))
        rig.executor.stop(call, CallEnd.TIMEOUT)
        assert rig.reply(call).ending is CallEnd.TIMEOUT
        assert rig.run(tasks.blow, "exit").ending is CallEnd.RAISED
        rig.executor.close(1)


def test_a_loop_that_was_closed_takes_nothing() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    rig = Rig("async")
    rig.executor = AsyncioExecutor(2, rig, loop)
    assert rig.run(tasks.add, 1, 2).ending is CallEnd.UNSTARTED
    rig.executor.close(1)


def test_an_abandoned_coroutine_says_no_more(tmp_path: Path) -> None:
    with rigged("async", slots=1) as rig:
        call = rig.begin(tasks.stubborn, tmp_path / "begun", str(tmp_path / "release"))
        rig.executor.kill(call)
        rig.reply(call)
        (tmp_path / "release").touch()
        coroutines = rig.executor._abandoned  # type: ignore[attr-defined]  # what this adapter has of its own
        until(lambda: coroutines and all(coroutine.done() for coroutine in coroutines))
        assert [one for one, _ in rig.replies] == [call]


@pytest.mark.parametrize("module", ["asyncio", "threads"])
@pytest.mark.usefixtures("unmeasured")
def test_no_part_of_multiprocessing_is_loaded(module: str) -> None:
    text = f"import sys, longboat.executors.{module}; sys.exit('multiprocessing' in sys.modules)"
    subprocess.run([sys.executable, "-c", text], check=True)
