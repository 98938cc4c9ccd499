"""An executor with all that its tests ask of it: calls made easily, replies waited for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longboat.contract.broker import Lease
from longboat.core import codec
from longboat.core.job import Job
from longboat.executors.asyncio import AsyncioExecutor
from longboat.executors.base import Executor
from longboat.executors.contract import Call, Reply
from longboat.executors.processes import ProcessExecutor
from longboat.executors.threads import ThreadExecutor
from longboat.tasks.task import ExecutorName, Task
from tests.apps.executor_tasks import TICK, make_task

PATIENCE = 20.0

KINDS: list[ExecutorName] = ["async", "thread", "process"]


class Rig:
    """An executor and its owner."""

    def __init__(self, kind: ExecutorName) -> None:
        self.kind = kind
        self.executor: Executor
        self.replies: list[tuple[Call, Reply]] = []
        self.failures: list[tuple[str, BaseException]] = []
        self._changed = threading.Condition()
        self._count = 0

    def done(self, call: Call, reply: Reply) -> None:
        with self._changed:
            self.replies.append((call, reply))
            self._changed.notify_all()

    def failed(self, part: str, error: BaseException) -> None:
        self.failures.append((part, error))

    def task(self, fn: Callable[..., Any], **options: Any) -> Task[..., Any]:
        return make_task(fn, self.kind, **options)

    def call(self, task: Task[..., Any] | Callable[..., Any], *args: Any, payload: bytes | None = None) -> Call:
        if not isinstance(task, Task):
            task = self.task(task)
        self._count += 1
        payload = task.arguments.encode(args, {}) if payload is None else payload
        return Call(Lease(Job(1, f"job-{self._count}", task.name, payload), attempt=3, token=1), task)

    def submit(self, task: Task[..., Any] | Callable[..., Any], *args: Any) -> Call:
        call = self.call(task, *args)
        self.executor.submit([call])
        return call

    def begin(self, task: Task[..., Any] | Callable[..., Any], begun: Path, *args: Any) -> Call:
        """Submit, and wait until the function has begun."""
        call = self.submit(task, str(begun), *args)
        until(begun.exists)
        until(lambda: call.started > 0)
        return call

    def reply(self, call: Call, patience: float = PATIENCE) -> Reply:
        """The one reply of the call, waited for."""
        due = time.monotonic() + patience
        with self._changed:
            while not (found := [reply for one, reply in self.replies if one is call]):
                assert self._changed.wait(due - time.monotonic()), f"no reply within {patience} s"
        assert len(found) == 1
        return found[0]

    def result(self, call: Call) -> Any:
        reply = self.reply(call)
        assert reply.failure is None, reply.failure
        return codec.decode(reply.result)

    def run(self, task: Task[..., Any] | Callable[..., Any], *args: Any) -> Reply:
        return self.reply(self.submit(task, *args))

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.replies) >= count, PATIENCE), len(self.replies)


@contextmanager
def running_loop(
    new: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> Iterator[asyncio.AbstractEventLoop]:
    loop = new()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    assert thread.is_alive(), "the loop has ended"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()


@contextmanager
def rigged(kind: ExecutorName, slots: int = 2, **options: Any) -> Iterator[Rig]:
    rig = Rig(kind)
    if kind == "async":
        with running_loop() as loop:
            rig.executor = AsyncioExecutor(slots, rig, loop)
            yield rig
            rig.executor.close(0)
    else:
        rig.executor = (ThreadExecutor if kind == "thread" else ProcessExecutor)(slots, rig, **options)
        yield rig
        rig.executor.close(0)
    calls = [call for call, _ in rig.replies]
    assert len(set(calls)) == len(calls), "a call has replied twice"
    assert rig.executor.free() == slots


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for what nobody announces."""
    due = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < due, "it did not happen in time"
        time.sleep(TICK)
