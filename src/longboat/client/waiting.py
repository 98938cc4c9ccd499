"""Waiting for jobs to end: in pieces, from threads and event loops, and no longer than there is something to wait for."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from longboat.contract.broker import Broker
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import JobCancelled, JobFailed, ResultTimeout, again
from longboat.tasks.handle import Handle

R = TypeVar("R")

STALLED = 0.5
"""Seconds of waiting after which to look whether a parent of the job has failed; then ever more rarely."""
WAKE_UP = 1.0
"""Seconds between wake-ups of a thread that waits for a result."""
TOGETHER = 1000
"""Jobs in one look."""


def value_of(handle: Handle[R]) -> R:
    """The value of a job that has ended, converted to the handle's kind. Raises what else became of the job."""
    what = handle.known
    if what is None:
        raise ResultTimeout(f"job {handle.id} has not ended yet")
    if isinstance(what, Exception):
        raise again(what)  # a copy, because its traceback will lead to the handle
    if what.state is State.SUCCEEDED:
        value: R = codec.decode(what.value or codec.NONE, handle.kind)
        return value
    failure = what.failure
    message = failure.message if failure else ""
    if what.state is State.CANCELLED:
        raise JobCancelled(f"job {what.id} was cancelled: {message}")
    kind, text = (failure.type, failure.traceback) if failure else ("", "")
    raise JobFailed(what.id, what.task or handle.task, kind, message, text, what.attempts)


def wait(over: threading.Event, limit: float | None, what: str, look: Callable[[], None] = lambda: None) -> None:
    """Wait until it is over. After STALLED seconds call `look`, then ever more rarely. Raises ResultTimeout, and as `look`.

    Waits in pieces: a Ctrl-C that comes just before the thread blocks has its effect only when the thread wakes up.
    """
    now, stalled = SYSTEM.monotonic(), STALLED
    end, look_at = math.inf if limit is None else now + limit, now + stalled
    while not over.wait(max(0.0, min(WAKE_UP, look_at - now, end - now))):
        now = SYSTEM.monotonic()
        if now >= end:
            raise ResultTimeout(f"{what} has not ended within {limit:g} s; it goes on")
        if now >= look_at:
            look()
            stalled *= 2
            look_at = now + stalled


def from_threads(call: Callable[..., object]) -> Callable[..., None]:
    """What other threads may call instead: `call` then runs on this event loop, unless that has been closed meanwhile."""
    import asyncio

    loop = asyncio.get_running_loop()

    def tell(*args: Any) -> None:
        try:
            loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop was closed, and whoever waited on it is gone
            return

    return tell


def failed_parent(broker: Broker, job_id: str) -> JobView | None:
    """The dead or cancelled job that keeps this one from starting, if there is one, however far up."""
    seen, some = {job_id}, [job_id]
    while some:
        views = [view for view in broker.inspector.find(some[:TOGETHER]) if view]
        for view in views:
            if view.id != job_id and view.state in (State.DEAD, State.CANCELLED):
                return view
        above = (
            parent for view in views if view.constraints and view.state is State.WAITING for parent in view.constraints.after
        )
        some = some[TOGETHER:] + [parent for parent in dict.fromkeys(above) if parent not in seen]
        seen.update(some)
    return None
