"""Kept: where this app keeps jobs that are not with the broker yet: a spool, while it is away, or an outbox table."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from longboat.client.outbox_table import TABLE, Connect, OutboxTable, Row
from longboat.client.spool import Spool, SpoolOptions
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import NotDelivered

log = logging.getLogger("longboat.outbox")


class Kept:
    """Most apps have neither; then every call here costs nothing."""

    def __init__(self, spool: Spool | None = None, outbox: Connect | None = None) -> None:
        self.spool = spool
        self.outbox = None if outbox is None else OutboxTable(outbox)
        self._prepared = False

    def prepare(self) -> None:
        """Make the outbox table, unless this process knows that it is there."""
        if self.outbox is not None and not self._prepared:
            self._prepared = True
            try:
                self.outbox.create()
            except (
                Exception
            ) as error:  # of any driver; whoever writes into a table that is not there is told by the database
                log.warning("the table longboat_outbox could not be looked for: %s", error)
            self.outbox.close()

    def views(self, ids: Sequence[str]) -> dict[str, JobView | NotDelivered]:
        """Of those of these jobs that are here: how they look, or why they will not be delivered."""
        found: dict[str, JobView | NotDelivered] = {}
        tables = [self.spool.here] if self.spool is not None else []
        for table in [*tables, *([self.outbox] if self.outbox is not None else [])]:
            if table is not None:
                with contextlib.suppress(Exception):  # of any driver: then the broker is asked
                    found |= {job_id: _view(row) for job_id, row in table.find(ids).items()}
        return found

    def close(self) -> None:
        if self.spool is not None:
            self.spool.close()


class Summary(NamedTuple):
    """What a spool or an outbox holds."""

    name: str
    where: str
    jobs: int
    """To be delivered."""
    oldest: float
    """Seconds since the oldest of these was stored."""
    refused: int
    """Jobs that will not be delivered."""

    def __str__(self) -> str:
        held = f"{self.jobs:,} jobs to deliver, the oldest for {self.oldest:,.0f} s" if self.jobs else "empty"
        refused = f"; {self.refused:,} that were not delivered" if self.refused else ""
        return f"{self.where}: {held}{refused}"


def summaries(spool: str | None, outbox: Connect | None) -> Iterator[Summary | str]:
    """Of an app's spool and outbox, or why they cannot be looked into. Makes nothing."""
    found: list[tuple[str, str, OutboxTable]] = []
    if spool is not None:
        options = SpoolOptions.of(spool)
        if os.path.exists(options.path):
            found.append(("spool", options.path, options.table()))
        else:
            yield Summary("spool", options.path, 0, 0.0, 0)
    if outbox is not None:
        found.append(("outbox", TABLE, OutboxTable(outbox)))
    for name, where, table in found:
        try:
            jobs, oldest, refused = table.summary()
        except Exception as error:  # of any driver
            yield f"the {name} {where} cannot be read: {error}"
        else:
            yield Summary(name, where, jobs, 0.0 if oldest is None else max(0.0, SYSTEM.now() - oldest), refused)


def _view(row: Row) -> JobView | NotDelivered:
    if row.refused is not None:
        return NotDelivered(f"job {row.id} was not delivered: {row.refused}")
    job = row.job()
    if job is None:
        return JobView(row.id, State.WAITING, "", "", 0, 0, row.message)
    return JobView(
        row.id,
        State.WAITING,
        job.queue,
        job.task,
        job.priority,
        0,
        job.payload,
        enqueued=row.at,
        constraints=job.constraints,
        headers=job.headers,
    )
