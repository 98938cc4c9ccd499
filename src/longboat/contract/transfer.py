"""The contract for moving jobs from one broker into another: exported at the source, imported at the destination, confirmed.

A job is in one place at any moment. An export takes it out of the source and writes it down there, whole, in one
transaction. It stays written down until the export is confirmed. Whoever finds it there imports it at the
destination, again if need be, and confirms it. So a crash between any two of these steps loses no job and makes no
second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec

from longboat.core.bounds import LONGEST, Count, Name, Priority, Seconds
from longboat.core.job import Failure

ROOM = 8_000_000
"""Bytes of messages and failures that one export takes, about. The rest of its ids stay where they are."""


class ExportedJob(msgspec.Struct, array_like=True):
    """All that a broker keeps of a job that has not ended, or is dead. Durations are what is left of them."""

    id: Name
    message: bytes
    """As it was put, whether it can be decoded or not."""
    queue: Name
    priority: Priority = 0
    dead: bool = False
    delay: Seconds = 0.0
    expires: Annotated[float, msgspec.Meta(ge=-LONGEST, le=LONGEST)] | None = None
    """Below 0: its time is over already."""
    attempts: Count = 0
    worker_deaths: Count = 0
    failures: list[Failure] = []


class Transfer(Protocol):
    """Takes whole jobs out of a broker, and into one. All calls may be made from several threads."""

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        """Take these jobs out in one transaction and write them down under `name`. Returns them in the order of `ids`.

        These are left as they are: leased jobs, succeeded and cancelled ones, those that depend on others or that others
        depend on, and what is more than ROOM. Ids chosen by callers stay remembered: to put them again has no effect, but
        they may be imported here again. A name that has unconfirmed jobs returns these, in their order, and takes no more.
        """
        ...

    def unconfirmed(self) -> list[str]:
        """The names that have unconfirmed jobs, in order."""
        ...

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        """Store these jobs as they were, all or none, durably on return. Returns the ids that were new, in order.

        As with a put, a known id has no effect. For FORGOTTEN_AFTER the same name makes no second job, whatever became of
        the first, and returns all its ids. Jobs that were parked or blocked are ready. Dead jobs are dead, with all their
        failures, and kept as long as those that die now.
        """
        ...

    def confirm(self, name: str) -> None:
        """Forget the exported jobs of this name. Idempotent."""
        ...
