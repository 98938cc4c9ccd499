"""Outgoing: what one call enqueues, as plain data. Sender: the one way out, which takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from longboat.core.job import Job
from longboat.tasks.flow import Ends, FlowClient
from longboat.tasks.handle import Handle, HandleClient
from longboat.tasks.limits import UniqueKey
from longboat.tasks.record import Told


class Outgoing(msgspec.Struct, eq=False):
    """What one call enqueues: one job, or, with `enqueue_many` or a flow, any number of jobs."""

    jobs: list[Job]
    """The one job, or several that are stored together. Of `enqueue_many`, the first batch, for middlewares to look at."""
    kind: Any = Any
    """What the results are converted to."""
    batches: Iterator[list[Job]] | None = None
    """The jobs of `enqueue_many`: all of one task and queue, each batch made while the one before it is stored."""
    flow: str = ""
    """The id of the flow that these jobs are: they are stored together or not at all."""
    ends: Ends = ""
    """Of a flow: whose results are its result."""
    keys: dict[str, UniqueKey] = {}
    """By job: its unique key. A job is not made where another one stands for its key."""
    parent: str = ""
    """The id of the job that asked for this one."""
    connection: object = None
    """Store the jobs within the transaction that this connection is in."""
    progress: bool = False
    """Draw a bar on a terminal."""
    total: int | None = None
    """How many jobs there are, where that is known."""
    count: int = 0
    """How many have passed the middlewares so far."""

    @property
    def first(self) -> Job:
        return self.jobs[0]

    @property
    def batch(self) -> bool:
        """Whether the call may enqueue more than one job."""
        return self.batches is not None or len(self.jobs) > 1 or bool(self.flow)

    @property
    def queue(self) -> str:
        """The jobs' queue; empty where they go to several."""
        return self._common("queue")

    @property
    def task(self) -> str:
        """The name of the jobs' task; empty where they are of several."""
        return self._common("task")

    @property
    def plain(self) -> bool:
        """Whether it is one job that only needs to be stored: the common case, and the fast one."""
        several = self.batches or len(self.jobs) != 1
        return not (several or self.keys or self.flow or self.parent) and self.connection is None

    def _common(self, field: str) -> str:
        value: str = getattr(self.first, field)
        return value if not self.flow or all(getattr(job, field) == value for job in self.jobs) else ""


class Records(Protocol):
    """What workers have told of tasks, kept for some seconds."""

    def get(self, task: str) -> Told | None:
        """None if no worker has told of it. Raises BrokerUnavailable."""
        ...

    def fresh(self, task: str) -> bool:
        """Whether `get` answers without asking the broker."""
        ...


class Sender(HandleClient, Protocol):
    """The calling side as tasks see it: the app's client."""

    @property
    def flows(self) -> FlowClient: ...
    @property
    def records(self) -> Records: ...

    def send(self, outgoing: Outgoing) -> list[Handle[Any]]:
        """Store the jobs durably; returns a handle on each, in order. Raises as `Task.enqueue` does."""
        ...

    async def asend(self, outgoing: Outgoing) -> list[Handle[Any]]:
        """As `send`, without blocking the event loop."""
        ...
