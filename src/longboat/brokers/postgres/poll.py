"""A consumer's poll of the store: whether there is anything to do, and if not, when. Locks nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from longboat.brokers.postgres.floors import IN_RANGE, RANGES, Floors, Ranges
from longboat.brokers.postgres.rows import QUEUED, insert, take, take_these
from longboat.brokers.postgres.store import NOW, Transaction

_FIRST = "SELECT queue FROM @.ready {after} ORDER BY queue, rank, place LIMIT 1"
_EVERY = f"""
    WITH RECURSIVE found (queue) AS (
        ({_FIRST.format(after="")})
        UNION ALL
        SELECT ({_FIRST.format(after="WHERE queue > found.queue")}) FROM found WHERE queue IS NOT NULL)
    SELECT queue FROM found WHERE queue IS NOT NULL"""
_SOME = (
    f"{RANGES} CROSS JOIN LATERAL (SELECT 1 FROM @.ready AS r WHERE r.queue = g.queue AND {IN_RANGE} LIMIT {{limit}}) AS r"
)
"""SQL: a row for each ready job of the ranges `g`, up to the limit of each."""
_NAMED = f"SELECT g.queue FROM {_SOME.format(limit=1)} ORDER BY g.at"
_MINE = (
    "task = ANY (%(tasks)b::bytea[]) AND (cardinality(%(queues)b::bytea[]) = 0 OR queue = ANY (%(queues)b::bytea[])) "
    "AND queue <> ALL (%(paused)b::bytea[])"
)
_NEXT = ",".join(
    [
        "(SELECT min(deadline) FROM @.consumers WHERE n <> %(consumer)s)",
        "(SELECT due FROM @.scheduled ORDER BY due, place LIMIT 1)",
        *(
            f"(SELECT {at} FROM @.{table} WHERE {at} IS NOT NULL ORDER BY {at} LIMIT 1)"
            for table, at in [("parked", "dead_at"), ("limits", "opens"), *((table, "expires_at") for table in QUEUED)]
        ),
    ]
)
CANCELLED = "(SELECT coalesce(sum(token), 0)::bigint FROM @.leased WHERE consumer = %(consumer)s AND cancel)"
_POLL = f"""
    SELECT EXISTS (SELECT 1 FROM @.consumers WHERE n = %(consumer)s), {CANCELLED}, ARRAY({{queues}}),
        cardinality(%(tasks)b::bytea[]) > 0 AND EXISTS (SELECT 1 FROM @.parked WHERE {_MINE}),
        EXISTS (SELECT 1 FROM @.ready WHERE limited), EXISTS (SELECT 1 FROM @.consumers WHERE waiting AND n <> %(consumer)s),
        least({_NEXT}) - {NOW}"""
_SHARED = f"""
    SELECT o.n, (
        SELECT count(*) FROM (SELECT 1 FROM {_SOME.format(limit="%(most)s * (o.n + 1)")} LIMIT %(most)s * (o.n + 1)) AS s)
    FROM (SELECT count(*) AS n FROM @.consumers WHERE waiting AND n <> %(consumer)s
        AND (cardinality(queues) = 0 OR queues && %(of)b::bytea[])) AS o"""


class Poll(NamedTuple):
    """What a consumer found."""

    alive: bool
    cancelled: int
    """0: none of its leases is to be cancelled. Changes whenever others are."""
    queues: list[bytes]
    """Those of its queues that have ready jobs, or had when a look left them out, in the order in which they are asked."""
    parked: bool
    limited: bool
    """Some ready jobs have limits."""
    others: bool
    """Others wait, for any queue."""
    next: float
    """Seconds until something is due: a delay, an expiry, a limit's room, another consumer's deadline."""


class Poller:
    """The statements for one consumer's queues and tasks."""

    def __init__(self, consumer: int, queues: Sequence[bytes], tasks: Sequence[bytes]) -> None:
        self._tasks = list(tasks)
        self._paused: Collection[bytes] = ()
        self._queues = list(queues)
        self._values = {"consumer": consumer, "queues": self._queues, "tasks": self._tasks, "paused": list[bytes]()}
        self._sql = _POLL.format(queues=_NAMED if queues else _EVERY)
        self._every = not queues

    def pause(self, queues: Collection[bytes], tasks: Collection[bytes]) -> None:
        """From now on these are left out."""
        left = [task for task in self._tasks if task not in tasks]
        self._values = {**self._values, "tasks": left, "paused": list(queues)}
        self._paused = queues

    def poll(self, run: Callable[..., Any], floors: Floors, last_queue: bytes = b"") -> Poll:
        among = {} if self._every else floors.ranges([name for name in self._queues if name not in floors.owed])._asdict()
        alive, cancelled, found, parked, limited, others, following = run(self._sql, **self._values, **among).fetchone()
        if floors.owed and not self._every:
            found = [name for name in self._queues if name in found or name in floors.owed]
        queues = [name for name in dict.fromkeys(found) if name not in self._paused]
        if self._every:  # in turn: those after the last one first
            queues = [name for name in queues if name > last_queue] + [name for name in queues if name <= last_queue]
        return Poll(alive, cancelled, queues, parked, limited, others, math.inf if following is None else following)

    def shared(self, run: Callable[..., Any], among: Ranges, n: int) -> tuple[int, int]:
        """How many others wait for the queues of these ranges, and how many jobs are ready there, as far as that matters."""
        others, ready = run(_SHARED, consumer=self._values["consumer"], most=n, **among._asdict()).fetchone()
        return others, ready

    def unpark(self, tx: Transaction, n: int) -> list[tuple[Any, ...]]:
        """Make up to `n` parked jobs that this consumer knows ready, so that a claim takes them in their order.

        Returns what `repark` needs.
        """
        found = f"SELECT ctid FROM @.parked WHERE {_MINE} ORDER BY rank, place LIMIT %(n)s FOR UPDATE SKIP LOCKED"
        parked = take(tx, "parked", found, "task, dead_at, reason", n=n, **self._values)
        insert(tx, "ready", [row for row, *_ in parked])
        return parked


def repark(tx: Transaction, parked: Sequence[tuple[Any, ...]]) -> None:
    """Those that the claim did not take stay parked."""
    if not parked:
        return
    left = {row.place for row in take_these(tx, "ready", [row for row, *_ in parked])}
    again = [each for each in parked if each[0].place in left]
    if again:
        rows, tasks, dead_at, reasons = (list(each) for each in zip(*again, strict=True))
        insert(tx, "parked", rows, task=tasks, dead_at=dead_at, reason=reasons)
