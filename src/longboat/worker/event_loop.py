"""EventLoop: the asyncio loop of a worker that is entered with `with`, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from longboat.worker.service import Service
from longboat.worker.status import Status

log = logging.getLogger("longboat.worker")

LAST_SECONDS = 1.0
"""Seconds that what still runs in the loop gets to end, once the worker is closed."""


class EventLoop(Service):
    """Runs until `close`, whatever a task does to it."""

    def __init__(self, status: Status) -> None:
        super().__init__("loop", status)
        self.asyncio_loop = _new_loop()
        if sys.version_info < (3, 12):
            self.asyncio_loop.set_task_factory(ContextTask.make)

    def stop(self) -> None:
        super().stop()
        with contextlib.suppress(RuntimeError):  # it is closed
            self.asyncio_loop.call_soon_threadsafe(self.asyncio_loop.stop)

    def close(self) -> None:
        """Stop, and wait for the thread, unless a task blocks it."""
        self.stop()
        if self.ran:
            self._thread.join(LAST_SECONDS if self.status.blocked else None)

    def loop(self) -> None:
        loop = self.asyncio_loop
        asyncio.set_event_loop(loop)
        try:
            while not self.stopping:
                self._run_forever()
        finally:
            loop.run_until_complete(_end_tasks())
            loop.close()

    def _run_forever(self) -> None:
        error: BaseException | None = None
        try:
            self.asyncio_loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as caught:  # of a task within a job: asyncio lets these two through
            error = caught
        if not self.stopping:
            log.error("a task has stopped the event loop; it goes on", exc_info=error)


class ContextTask(asyncio.Task[Any]):
    """Tells its context, as tasks do from Python 3.12 on: so the job is known that has started it."""

    _own_context: Context

    @classmethod
    def make(cls, loop: asyncio.AbstractEventLoop, coro: Any, context: Context | None = None) -> ContextTask:
        context = context or copy_context()
        made = cls(coro, loop=loop, context=context)
        made._own_context = context
        return made

    def get_context(self) -> Context:
        return self._own_context


async def _end_tasks() -> None:
    """Cancel what jobs have left behind."""
    loop = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    closing = loop.create_task(loop.shutdown_asyncgens())
    await asyncio.wait([*left, closing], timeout=LAST_SECONDS)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return make()
