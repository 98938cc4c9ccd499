"""The contract for executors: how functions are run. One each for coroutines, threads and child processes.

An executor takes calls and gives its owner exactly one reply for each, from any thread, in any order. It knows tasks, never
brokers. A reply is made where the function ran: arguments are decoded and the result is encoded there, so that a value that
cannot be serialised is that attempt's failure and nobody else's.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from longboat.contract.broker import Lease
from longboat.core.job import Failure
from longboat.tasks.task import Task

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
    """Never run: the payload does not fit the task's parameters. Trying again is no use."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    KILLED = "killed"
    """The process that ran it died."""
    UNSTARTED = "unstarted"
    """Never run: the executor was closed, or has no room; not charged."""


class Reply(msgspec.Struct, eq=False, gc=False):
    """What became of a call. `result` with RETURNED only; `failure` with all but RETURNED and UNSTARTED."""

    ending: CallEnd
    result: bytes = b""
    failure: Failure | None = None
    again: bool = True
    """False: the exception is not one of the task's `retry_on`."""


class Call:
    """One attempt in an executor's hands. `started` is 0.0 until the function begins, then time.monotonic()."""

    __slots__ = ("deadline", "handle", "lease", "noted", "started", "stopping", "task")

    def __init__(self, lease: Lease, task: Task[..., Any]) -> None:
        self.lease = lease
        self.task = task
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


class Executor(Protocol):
    """Runs calls. All methods may be called from any thread."""

    slots: int
    """How many calls run at the same time."""
    worn: bool
    """True once a call could not be stopped and holds a slot for good: the worker's process should be replaced."""

    def free(self) -> int:
        """Slots, less the calls that have not replied yet; negative while some of them wait for a slot."""
        ...

    def submit(self, calls: Sequence[Call]) -> None:
        """Run these, in order, as slots get free. Returns at once and never raises for what a task does."""
        ...

    def stop(self, call: Call, why: CallEnd) -> None:
        """Ask the function to end, because of TIMEOUT or CANCELLED.

        It is told by CancelledError in a coroutine, Stopped in a child process, `current().stopping` in a thread.
        A call that had not started ends at once, with `why`. The reply's ending is `why` unless the function
        returned all the same (RETURNED: its result counts).
        """
        ...

    def kill(self, call: Call) -> None:
        """End it now: the coroutine or thread is abandoned, the child killed.

        The reply follows promptly, with the reason that `stop` was given.
        """
        ...

    def close(self, grace: float) -> None:
        """Take no more; what has not started replies UNSTARTED at once. Running calls get `grace` seconds to end.

        What still runs after that is killed and replies UNSTARTED too (it is handed back, not charged).
        Returns when every call has replied and all processes and threads are gone (abandoned threads excepted).
        Calling it again from another thread with a shorter grace shortens the wait.
        """
        ...
