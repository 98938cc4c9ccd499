"""EventLoop: the asyncio loop of a worker that is entered with `with`, in a thread of its own."""

from __future__ import annotations

import asyncio

from longboat.worker.service import Service
from longboat.worker.status import Status


class EventLoop(Service):
    """A task that stops the loop finishes the worker: no coroutine would run any more."""

    def __init__(self, status: Status) -> None:
        super().__init__("loop", status)
        self.asyncio_loop = asyncio.new_event_loop()

    def stop(self) -> None:
        super().stop()
        if not self.asyncio_loop.is_closed():
            self.asyncio_loop.call_soon_threadsafe(self.asyncio_loop.stop)

    def loop(self) -> None:
        loop = self.asyncio_loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
