"""The contract for moving jobs from one broker into another: packed at the source, unpacked at the destination.

A job in transit is in one place at any moment: packing takes it out of the source and writes it down there, whole, in one
transaction; what was packed stays written down until it is said to be delivered. So whoever finds it there unpacks it at
the destination, again if need be, and says so: a crash between any two of these steps loses no job and makes no second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from longboat.core.job import Failure

ROOM = 8_000_000
"""Bytes of messages and failures packed by one call, about: the rest of its ids are left where they are."""


class ExportedJob(msgspec.Struct, array_like=True):
    """All that a broker keeps of a job that has not ended, or is dead. Durations are what is left of them."""

    id: str
    message: bytes
    """As it was put, whether it can be decoded or not."""
    queue: str
    priority: int = 0
    dead: bool = False
    delay: float = 0.0
    expires: float | None = None
    """Below 0 when its time is over already."""
    attempts: int = 0
    worker_deaths: int = 0
    failures: list[Failure] = []


class Transfer(Protocol):
    """Takes jobs out of a broker whole, and in again. All calls may be made from several threads."""

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        """Take these jobs out, all in one transaction, and write them down under `name`; returns them in the order of `ids`.

        Left as they are: jobs that are leased, that have ended (but for the dead), that come after others or that others
        wait for, and whatever is more than ROOM. Ids chosen by callers stay remembered: put again they have no effect, but
        they may be unpacked here when they come back. For a name that has parcels already it only returns these, in their
        order.
        """
        ...

    def unconfirmed(self) -> list[str]:
        """The names that have parcels, in order."""
        ...

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        """Store these jobs as they were, durably and all or nothing; returns the ids that were new, in order.

        As with a put, an id known already has no effect, and the same name again makes no second job whatever became of the
        first, and returns all its ids, for FORGOTTEN_AFTER. Parked jobs, and those that a limit shut out, are ready; the
        dead are dead with all their failures, and kept as long as those that die now.
        """
        ...

    def confirm(self, name: str) -> None:
        """Forget the parcels of this name. Idempotent."""
        ...
