"""The contract for looking inside a broker, and for an operator's changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from longboat.core.job import State
from longboat.core.views import ConsumerView, JobView, LimitView, Page


class Inspector(Protocol):
    """Looks and changes without a worker's help. Reading never blocks the claiming of jobs for long."""

    def counts(self) -> Mapping[tuple[str, State], int]:
        """The number of jobs by (queue, state), where it is above 0. Exact, in O(queues) whatever the number of jobs."""
        ...

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        """The jobs with these ids, in the order asked; None for an unknown id."""
        ...

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """A page of the jobs in a state, of all queues or of one. It costs O(limit), whatever the number of jobs.

        Ready jobs come queue by queue in the order in which they will be received, scheduled ones by due time, running and
        waiting ones oldest first, ended ones newest first. With `task` a page may hold fewer jobs than `limit`, even none,
        and still have an `after`: each page looks at a bounded number of jobs.
        """
        ...

    def consumers(self) -> list[ConsumerView]:
        """The consumers whose leases are valid at present."""
        ...

    def cancel(self, ids: Sequence[str]) -> list[str]:
        """Cancel jobs that have not ended. Returns the ids on which this had an effect.

        A job that is not leased is cancelled at once, with a Failure of type "longboat.Cancelled". For a leased job the
        cancellation is requested: its consumer's `receive` returns, and `extend` tells it. The job may still succeed or die.
        If its worker dies, the job is cancelled when its lease comes back.

        A broker with REVOKE and without CANCEL cannot find the job. It keeps the cancellation until a worker comes to the
        job and ends it, and returns all ids but those that this process knows to have ended.
        """
        ...

    def retry(self, ids: Sequence[str]) -> list[str]:
        """Make dead jobs ready again: attempts count from 0, failures are kept. Returns the ids of those that were dead."""
        ...

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        """Delete up to `limit` jobs in these states, of all queues or of one. Returns how many; call it until that is 0.

        Running jobs are never deleted. Ids chosen by callers stay remembered.
        """
        ...

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        """The limits of these keys, in the order asked; None where no job holds the key and none is blocked."""
        ...

    def prune(self, *, limit: int = 1000) -> int:
        """Delete up to `limit` ended jobs and remembered ids, kept long enough or too many. Returns how many."""
        ...
