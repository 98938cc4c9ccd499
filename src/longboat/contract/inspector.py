"""The contract for looking inside a broker, and for an operator's changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from longboat.core.job import State
from longboat.core.views import ConsumerView, JobView, LimitView, Page


class Inspector(Protocol):
    """Looks and changes without touching a worker. Reading never blocks the claiming of jobs for long."""

    def counts(self) -> Mapping[tuple[str, State], int]:
        """Jobs by (queue, state), only those above 0; exact, in O(queues) whatever the number of jobs."""
        ...

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        """The jobs with these ids, in the order asked; None where unknown."""
        ...

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """Jobs in a state, of all queues or one. Each page costs O(limit), whatever the number of jobs.

        Ready ones come in the order they will be received (queue by queue), scheduled ones by due time, running and
        waiting ones oldest first, ended ones newest first. With `task`, a page may hold fewer than `limit`, even none, and
        still have an `after`: each page looks at a bounded number of jobs.
        """
        ...

    def consumers(self) -> list[ConsumerView]:
        """The consumers whose leases hold at present."""
        ...

    def cancel(self, ids: Sequence[str]) -> list[str]:
        """Cancel jobs that have not ended; returns the ids this had an effect on.

        One that is not leased is cancelled at once, with a Failure of type "longboat.Cancelled". For a leased one the
        cancellation is asked for: its consumer's `receive` returns and `extend` tells it; it settles as it ends.
        Should its worker die, the job is cancelled when its lease comes back.
        """
        ...

    def retry(self, ids: Sequence[str]) -> list[str]:
        """Make dead jobs ready again, their attempts counted from none, their failures kept; returns those revived."""
        ...

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        """Delete up to `limit` jobs in these states, of all queues or one; returns how many. Running ones are never purged.

        Ids chosen by callers stay remembered. Call it until it returns 0.
        """
        ...

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        """The limits of these keys, in the order asked; None where nothing is held and nothing waits."""
        ...

    def prune(self, *, limit: int = 1000) -> int:
        """Delete up to `limit` ended jobs (and memories) whose time is over or that exceed the bound; returns how many."""
        ...
