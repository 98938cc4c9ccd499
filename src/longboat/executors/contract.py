"""What executors are given and give back. There is one each for coroutines, threads and child processes: see base.py.

An executor takes calls and gives its owner exactly one reply for each, from any thread, in any order. It knows tasks, never
brokers. A reply is made where the function ran: arguments are decoded and the result is encoded there, so that a value that
cannot be serialised is that attempt's failure and nobody else's.
"""

from __future__ import annotations

import enum
from typing import Any, Protocol

import msgspec

from longboat.contract.broker import Lease
from longboat.core.job import Failure
from longboat.tasks.task import Settings, Task

TIMEOUT = "longboat.Timeout"
KILLED = "longboat.Killed"
BAD_PAYLOAD = "longboat.BadArguments"
BAD_RESULT = "longboat.BadResult"


class CallEnd(enum.Enum):
    """How a call ended."""

    RETURNED = "returned"
    RAISED = "raised"
    """An exception of the function, or a result that cannot be serialised."""
    REFUSED = "refused"
    """Never run: the payload does not fit the task's parameters."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    KILLED = "killed"
    """The process that ran it died."""
    UNSTARTED = "unstarted"
    """Never run: the executor was closed, or has no room; it counts as no attempt."""


class Reply(msgspec.Struct, eq=False, gc=False):
    """What became of a call. `result` with RETURNED only; `failure` with all but RETURNED and UNSTARTED."""

    ending: CallEnd
    result: bytes = b""
    failure: Failure | None = None
    again: bool = True
    """False: the exception is not one of the task's `retry_on`; or no version of the task could read the payload."""


class Call:
    """One attempt in an executor's hands. `started` is 0.0 until the function begins, then time.monotonic()."""

    __slots__ = ("deadline", "handle", "lease", "noted", "settings", "started", "stopping", "task")

    def __init__(self, lease: Lease, task: Task[..., Any], settings: Settings | None = None) -> None:
        self.lease = lease
        self.task = task
        self.settings = settings or task.settings
        """The task's, or the job's own."""
        self.started = 0.0
        self.deadline = 0.0
        """Monotonic time of the next stop or kill, for the thread that keeps time; 0.0: none."""
        self.noted = False
        """Whether the broker knows that it started."""
        self.stopping: CallEnd | None = None
        """Why `stop` was called, if it was."""
        self.handle: Any = None
        """The executor's own."""


class Owner(Protocol):
    """Who submits calls. Both methods are called from any thread."""

    def done(self, call: Call, reply: Reply) -> None:
        """This call has ended. Called once for each."""
        ...

    def failed(self, part: str, error: BaseException) -> None:
        """A thread of the executor has ended by an error of its own, or `done` has raised: some calls may never reply."""
        ...
