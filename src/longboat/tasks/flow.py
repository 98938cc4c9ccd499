"""Flow: what enqueueing several jobs that depend on each other returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from longboat.core.bounds import Seconds
from longboat.core.clock import Duration
from longboat.core.job import State
from longboat.tasks.handle import Handle

R = TypeVar("R")

Ends = str | list[Any]
"""Whose results are the flow's result: a job's id, or a list of such, nested as the value is."""


class Plan(msgspec.Struct, array_like=True):
    """What a flow was begun with, as the broker's KV keeps it."""

    name: str
    """The tasks it ends with."""
    begun: Seconds
    """Wall-clock time."""
    ends: Ends
    size: int
    """Jobs it was begun with."""


class FlowStatus(msgspec.Struct):
    """How far a flow is."""

    jobs: Counter[State]
    """Its jobs by state. Jobs that ended so long ago that they are forgotten count as succeeded."""
    failed: list[str]
    """Ids of jobs that are dead or cancelled, at most 100. The jobs after them wait."""
    unreadable: int = 0
    """Records of its jobs that cannot be read: they are not counted."""
    unknown: int = 0
    """Jobs of which no state is known: RabbitMQ without a store tells which ones run, and for two days which have ended."""

    @property
    def total(self) -> int:
        """How many jobs it has."""
        return sum(self.jobs.values()) + self.unknown

    @property
    def ended(self) -> bool:
        """Whether all its jobs are known to have ended."""
        return not self.unknown and all(state.ended for state, count in self.jobs.items() if count)


class FlowClient(Protocol):
    """The calling side as a flow sees it."""

    def result(self, flow: Flow[R], timeout: Duration | None) -> R: ...
    async def aresult(self, flow: Flow[R]) -> R: ...
    def status(self, flow_id: str) -> FlowStatus: ...
    def cancel(self, flow_id: str, reason: str) -> int: ...
    def handles(self, flow_id: str) -> list[Handle[Any]]: ...


class NoJobs:
    """The calling side of a flow without jobs, such as an empty group: nothing is stored, and the result is there."""

    def result(self, flow: Flow[R], timeout: Duration | None) -> R:  # noqa: ARG002  # as its protocol has it
        return cast(R, flow.ends)

    async def aresult(self, flow: Flow[R]) -> R:
        return cast(R, flow.ends)

    def status(self, flow_id: str) -> FlowStatus:  # noqa: ARG002  # as its protocol has it
        return FlowStatus(Counter(), [])

    def cancel(self, flow_id: str, reason: str) -> int:  # noqa: ARG002  # as its protocol has it
        return 0

    def handles(self, flow_id: str) -> list[Handle[Any]]:  # noqa: ARG002  # as its protocol has it
        return []


class Flow(Generic[R]):
    """Jobs that depend on each other, enqueued together. It can be awaited, also several times."""

    def __init__(self, client: FlowClient, id: str, ends: Ends, kinds: Sequence[Any] = ()) -> None:
        self.id = id
        """The flow's id. Keep it to look the flow up later, from any process: `app.flow(id)`."""
        self.ends = ends
        self.kinds = kinds
        """What the results of the ends are converted to, in the order in which they stand there."""
        self._client = client

    def result(self, timeout: Duration | None = None) -> R:
        """The result of the flow's last job (of a group: a list). Waits for at most `timeout`.

        Raises JobFailed or JobCancelled as soon as a job that the flow was begun with is dead or cancelled; the message
        names that job. Retry it (`longboat dead retry ID`), and the flow goes on from there. Raises WouldBlock where an
        event loop runs: await the flow there.
        """
        return self._client.result(self, timeout)

    def __await__(self) -> Generator[Any, None, R]:
        """As `result`, without blocking the event loop."""
        return self._client.aresult(self).__await__()

    def status(self) -> FlowStatus:
        """Its jobs by state, including those that joined while it ran. Looks at each of them.

        RabbitMQ without a store knows which ones run, and for two days which have ended: the others are `unknown`.
        """
        return self._client.status(self.id)

    def cancel(self, reason: str = "") -> int:
        """Cancel all its jobs that have not ended; returns how many. `reason`: for the audit, which says who did it."""
        return self._client.cancel(self.id, reason)

    def jobs(self) -> list[Handle[Any]]:
        """Handles on all its jobs, parents first."""
        return self._client.handles(self.id)

    def __repr__(self) -> str:
        return f"<Flow {self.id}>"


def renamed(ends: Ends, ids: Mapping[str, str]) -> Ends:
    """The same with other ids."""
    return ids.get(ends, ends) if isinstance(ends, str) else [renamed(end, ids) for end in ends]


def end_ids(ends: Ends) -> list[str]:
    """The ids in there, in order."""
    return [ends] if isinstance(ends, str) else [each for end in ends for each in end_ids(end)]
