"""Waits: coroutines that each wait for one job. For all of an event loop the broker is asked together, in other threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from longboat.client.inbox import Inbox
from longboat.client.waiting import SILENT, STALLED, from_threads, tell_unserved, value_of
from longboat.core.job import Result
from longboat.errors import again
from longboat.tasks.handle import Handle

if TYPE_CHECKING:
    import asyncio

APART = 0.1
"""Seconds between two looks at least, but for jobs of which only the id is known."""

LookUp = Callable[[Sequence[Handle[Any]]], Mapping[str, Handle[Any]]]
"""Looks whether there is something to wait for; the jobs that wait in vain, and the one that has failed."""


class Waits:
    """Of one client, on any number of event loops."""

    def __init__(self, inbox: Inbox, look_up: LookUp) -> None:
        self._inbox = inbox
        self._look_up = look_up
        self._loops: dict[asyncio.AbstractEventLoop, _OnLoop] = {}

    async def ended(self, handle: Handle[Any]) -> None:
        """Returns once the handle is known to have ended. Raises what `result` does of a job that never will, or that the
        broker cannot be asked for."""
        import asyncio

        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            for other in [each for each in list(self._loops) if each.is_closed()]:
                self._loops.pop(other, None)
            here = self._loops[loop] = _OnLoop(loop, self._inbox, self._look_up)
        await here.ended(handle)


class _Wait:
    """One coroutine that waits, as the inbox sees it."""

    __slots__ = ("_tell", "future", "handle", "over", "since", "told")

    def __init__(self, handle: Handle[Any], future: asyncio.Future[None], tell: Callable[..., None], since: float) -> None:
        self.handle = handle
        self.future = future
        self.since = since
        self.told = False
        """The log has been told of it, if nobody serves it."""
        self.over = False
        """The inbox knows of it no more."""
        self._tell = tell

    def heard(self, _: str, what: Result | Exception) -> None:
        self.over = True
        self.handle.known = what
        self._tell(self.future, None)

    def failed(self, error: Exception) -> None:
        self.over = True
        self._tell(self.future, error)


class _OnLoop:
    """Used on its loop only, but for `_look_at`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inbox: Inbox, look_up: LookUp) -> None:
        self._loop = loop
        self._inbox = inbox
        self._look_up = look_up
        self._tell = from_threads(_resolve)
        self._new: list[_Wait] = []
        self._numbers = itertools.count()
        self._waiting: dict[int, _Wait] = {}
        self._looks: list[tuple[float, int, float]] = []
        """A heap of when to look at which wait, and the pause after that. It holds those that are over for a while."""
        self._timer: asyncio.TimerHandle | None = None
        self._looking = False

    async def ended(self, handle: Handle[Any]) -> None:
        loop = self._loop
        wait = _Wait(handle, loop.create_future(), self._tell, loop.time())
        if not self._new:
            loop.call_soon(self._add)  # after everything that is ready to run now: what that waits for is asked together
        self._new.append(wait)
        number = next(self._numbers)
        self._waiting[number] = wait
        at = wait.since if handle.keep is None else wait.since + STALLED
        heappush(self._looks, (at, number, STALLED))
        if self._timer is None or handle.keep is None:
            self._set_timer(at)
        try:
            await wait.future
        finally:
            del self._waiting[number]
            if not wait.over:
                self._inbox.forget([handle.id], wait)

    def _add(self) -> None:
        new, self._new = self._new, []
        try:
            self._inbox.add([(wait.handle.id, wait) for wait in new if not wait.future.done()])
        except Exception as error:  # AppClosed, or the system refuses a thread
            for wait in new:
                _resolve(wait.future, error)

    # --- whether there is something to wait for

    def _set_timer(self, at: float) -> None:
        if not self._looking:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        due: list[_Wait] = []
        while self._looks and self._looks[0][0] <= now:
            _, number, pause = heappop(self._looks)
            if (wait := self._waiting.get(number)) is not None:
                due.append(wait)
                heappush(self._looks, (now + pause, number, pause * 2))
        if due:
            self._looking = True
            self._loop.run_in_executor(None, self._look_at, due, now).add_done_callback(self._looked)
        else:
            self._go_on()

    def _looked(self, _: asyncio.Future[None]) -> None:
        self._looking = False
        self._go_on()

    def _go_on(self) -> None:
        if self._looks and not self._loop.is_closed():
            self._set_timer(max(self._looks[0][0], self._loop.time() + APART))

    def _look_at(self, due: Sequence[_Wait], now: float) -> None:
        """In a thread."""
        try:
            failed = self._look_up([wait.handle for wait in due])
            for wait in due:
                if wait.handle.id in failed:
                    self._tell(wait.future, _error_of(failed[wait.handle.id]))
            silent = [wait for wait in due if not wait.told and now - wait.since >= SILENT]
            for wait in {wait.handle.task: wait for wait in silent}.values():
                tell_unserved(wait.handle)
            for wait in silent:
                wait.told = True
        except Exception as error:
            for wait in due:
                self._tell(wait.future, error)


def _error_of(failed: Handle[Any]) -> Exception:
    try:
        value_of(failed)
    except Exception as error:
        return error
    raise AssertionError(f"{failed} has not failed")


def _resolve(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(again(error))
