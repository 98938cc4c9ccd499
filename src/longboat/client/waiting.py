"""Waiting for jobs to end: in pieces, from threads and event loops, and no longer than there is something to wait for."""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from longboat.contract.broker import Broker
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.seldom import Seldom
from longboat.core.views import JobView
from longboat.errors import JobCancelled, JobFailed, JobNotFound, ResultTimeout, Undecodable, WouldBlock, again
from longboat.tasks.handle import Handle

R = TypeVar("R")
T = TypeVar("T")

STALLED = 0.5
"""Seconds of waiting after which to look whether the job is gone, or a parent of it has failed; then ever more rarely."""
WAKE_UP = 1.0
"""Seconds between wake-ups of a thread that waits for a result."""
TOGETHER = 1000
"""Jobs in one look."""
BLOCKING = 0.1
"""Seconds of enqueueing after which an event loop counts as blocked."""

SILENT = 3.0
"""Seconds of waiting, at least, until the log tells that no worker serves the job's queue, if that is so."""

log = logging.getLogger("longboat")
_told = Seldom(60.0)
_told_unserved = Seldom(60.0)


def value_of(handle: Handle[R]) -> R:
    """The value of a job that has ended, converted to the handle's kind. Raises what else became of the job."""
    what = handle.known
    if what is None:
        raise ResultTimeout(f"job {handle.id} has not ended yet")
    if isinstance(what, Exception):
        raise again(what)  # a copy, because its traceback will lead to the handle
    if what.state is State.SUCCEEDED:
        try:
            value: R = codec.decode(what.value or codec.NONE, handle.kind)
        except Undecodable as error:
            task = what.task or handle.task
            raise Undecodable(
                f"job {what.id} of task {task!r}: its result is not what the annotation says: {error}"
            ) from None
        return value
    failure = what.failure
    message = failure.message if failure else ""
    if what.state is State.CANCELLED:
        raise JobCancelled(f"job {what.of or what.id} was cancelled: {message}")
    kind, text = (failure.type, failure.traceback) if failure else ("", "")
    raise JobFailed(what.of or what.id, what.task or handle.task, kind, message, text, what.attempts)


def check_kept(handle: Handle[Any]) -> None:
    """Raises JobNotFound for a job that keeps no result."""
    if handle.keep == 0:
        raise JobNotFound(f"job {handle.id} keeps no result: its task or call says keep_result=0")


def check_may_block(what: str, instead: str) -> None:
    """Raises WouldBlock in a thread that runs an event loop: while it waited, nothing there would go on."""
    if _in_event_loop():
        here = " (any cell of a notebook can)" if "ipykernel" in sys.modules and "`await" in instead else ""
        raise WouldBlock(
            f"{what} would block this thread, and with it the event loop that runs here: {instead} instead{here}"
        )


def tell_blocked(took: float, handles: Sequence[Handle[Any]]) -> None:
    """Log, once a minute, that storing these jobs has kept an event loop from its other work for so many seconds."""
    if _in_event_loop() and (count := _told.count()):
        more = f" ({count} times since this was told)" if count > 1 else ""
        task = handles[0].task if handles else "job"
        log.warning(
            "enqueueing %s blocked this thread's event loop for %.1f s%s: `await` aenqueue() instead", task, took, more
        )


def tell_unserved(job: Handle[Any]) -> None:
    """Log, once a minute, that nobody will run the job, if no living worker serves its queue."""
    if (why := job.client.unserved(job.id)) and _told_unserved.count():
        start = "start one: `longboat worker`, or app.worker() in this program"
        log.warning("still waiting for %s %s: %s; %s", job.task or "job", job.id, why, start)


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # imported nowhere, it runs no loop
    return asyncio is not None and asyncio._get_running_loop() is not None


class Looks:
    """When somebody who waits looks whether there is something to wait for, and until when he waits.

    Wait for `left` seconds, call `passed` if nothing came, and wait again.
    """

    def __init__(
        self, limit: float | None, look: Callable[[], object], late: Callable[[], tuple[str, Handle[Any]]], *, at_once: bool
    ) -> None:
        """`look` may raise. `late`: what has not ended in time, and the handle on a job that can be asked why."""
        now = SYSTEM.monotonic()
        self._limit = math.inf if limit is None else limit
        self._end = now + self._limit
        self._pause = STALLED
        self._tell_at = now + SILENT
        self._look_at = now if at_once else now + STALLED
        self._look, self._late = look, late

    def left(self) -> float:
        return max(0.0, min(self._look_at, self._end) - SYSTEM.monotonic())

    def passed(self) -> None:
        """Raises ResultTimeout once the limit is over, and what `look` raises."""
        now = SYSTEM.monotonic()
        if now >= self._look_at:
            self._look()
            self._look_at = now + self._pause
            self._pause *= 2
            if now >= self._tell_at:
                self._tell_at = math.inf
                tell_unserved(self._late()[1])
        elif now >= self._end:
            what, job = self._late()
            why = "it goes on" if self._limit < STALLED else job.client.why(job.id)  # asking takes a moment
            which = "" if job.id in what else f"{job.task or 'job'} {job.id}: "
            raise ResultTimeout(f"{what} within {self._limit:g} s: {which}{why}")


def wait(over: threading.Event, looks: Looks) -> None:
    """Wait until it is over. Raises as `Looks.passed`.

    Waits in pieces: a Ctrl-C that comes just before the thread blocks has its effect only when the thread wakes up.
    """
    while not over.wait(min(WAKE_UP, looks.left())):
        looks.passed()


async def coming(next_: Callable[[], Coroutine[Any, Any, T]], looks: Looks) -> T:
    """What `next_` gives once it comes. Raises as `Looks.passed`."""
    import asyncio

    while True:
        try:
            return await asyncio.wait_for(next_(), looks.left())
        except TimeoutError:
            await asyncio.to_thread(looks.passed)


def from_threads(call: Callable[..., object]) -> Callable[..., None]:
    """What other threads may call instead: `call` then runs on this event loop, unless that has been closed meanwhile.

    Calls that come before the loop turns to the first of them share its wake-up.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    lock = threading.Lock()
    due: list[tuple[Any, ...]] = []

    def run() -> None:
        with lock:
            calls, due[:] = due[:], ()
        for args in calls:
            call(*args)

    def tell(*args: Any) -> None:
        with lock:
            due.append(args)
            first = len(due) == 1
        if first:
            try:
                loop.call_soon_threadsafe(run)
            except RuntimeError:  # the loop was closed, and whoever waited on it is gone
                due.clear()

    return tell


def failed_parents(broker: Broker, job_ids: Sequence[str]) -> dict[str, JobView]:
    """Of these jobs, those that a dead or cancelled job keeps from starting, however far up, and which one it is."""
    children: dict[str, list[str]] = {}
    """By parent: those that wait for it."""
    failed: list[JobView] = []
    found: dict[str, JobView] = {}
    seen, some = set(job_ids), list(job_ids)
    while some and not found.keys() >= set(job_ids):
        above: list[str] = []
        for view in broker.inspector.find(some[:TOGETHER]):
            if view is not None and view.state in (State.DEAD, State.CANCELLED):
                failed.append(view)
            elif view is not None and view.state is State.WAITING and view.constraints:
                for parent in view.constraints.after:
                    children.setdefault(parent, []).append(view.id)
                above += [parent for parent in view.constraints.after if parent not in seen]
                seen.update(above)
        some = some[TOGETHER:] + above
        found = {below: view for view in failed for below in _all_below(view.id, children)}
    return {job_id: found[job_id] for job_id in job_ids if job_id in found}


def _all_below(job_id: str, children: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    some = [*children.get(job_id, ())]
    while some:
        if (each := some.pop()) not in found:
            found.add(each)
            some += children.get(each, ())
    return found
