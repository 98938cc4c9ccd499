"""A consumer's look at the store: is there anything to do, and if not, when. Locks nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from longboat.brokers.postgres.moving import FIELDS
from longboat.brokers.postgres.transaction import NOW, Transaction
from longboat.core.job import State

Parked = tuple[Any, ...]
"""FIELDS, gated, task, dead_at, reason."""

_FIRST = "SELECT queue FROM @.ready {after} ORDER BY queue, rank, place LIMIT 1"
_EVERY = f"""
    WITH RECURSIVE found (queue) AS (
        ({_FIRST.format(after="")})
        UNION ALL
        SELECT ({_FIRST.format(after="WHERE queue > found.queue")}) FROM found WHERE queue IS NOT NULL)
    SELECT queue FROM found WHERE queue IS NOT NULL"""
_NAMED = """
    SELECT q.queue FROM unnest(%(queues)b::bytea[]) WITH ORDINALITY AS q (queue, at)
    WHERE EXISTS (SELECT 1 FROM @.ready AS r WHERE r.queue = q.queue) ORDER BY q.at"""
_MINE = (
    "task = ANY (%(tasks)b::bytea[]) AND (cardinality(%(queues)b::bytea[]) = 0 OR queue = ANY (%(queues)b::bytea[])) "
    "AND queue <> ALL (%(paused)b::bytea[])"
)
_LOOK = f"""
    SELECT EXISTS (SELECT 1 FROM @.consumers WHERE n = %(consumer)s),
        (SELECT coalesce(sum(token), 0)::bigint FROM @.leased WHERE consumer = %(consumer)s AND cancel),
        ARRAY({{queues}}),
        cardinality(%(tasks)b::bytea[]) > 0 AND EXISTS (SELECT 1 FROM @.parked WHERE {_MINE}),
        EXISTS (SELECT 1 FROM @.ready WHERE gated),
        least(
            (SELECT min(deadline) FROM @.consumers WHERE n <> %(consumer)s),
            (SELECT due FROM @.delayed ORDER BY due, place LIMIT 1),
            (SELECT dead_at FROM @.parked ORDER BY dead_at LIMIT 1),
            (SELECT expires_at FROM @.ready WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1),
            (SELECT expires_at FROM @.delayed WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1),
            (SELECT expires_at FROM @.parked WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1),
            (SELECT expires_at FROM @.pending WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1),
            (SELECT expires_at FROM @.lined WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1),
            (SELECT opens FROM @.gates WHERE opens IS NOT NULL ORDER BY opens LIMIT 1)) - {NOW}"""


class Look(NamedTuple):
    """What a consumer saw."""

    alive: bool
    cancelled: int
    """0: none of its leases is to be cancelled; changes whenever those that are change."""
    queues: list[bytes]
    """Those of its queues that have ready jobs, in the order they are asked."""
    parked: bool
    limited: bool
    """Among the ready jobs are some that have limits."""
    next: float
    """Seconds until something becomes due: a delay, an expiry, a limit's opening, another consumer's end."""


class Looker:
    """The statements for one consumer's queues and tasks."""

    def __init__(self, consumer: int, queues: Sequence[bytes], tasks: Sequence[bytes]) -> None:
        self._tasks = list(tasks)
        self._paused: Collection[bytes] = ()
        self._values = {"consumer": consumer, "queues": list(queues), "tasks": self._tasks, "paused": list[bytes]()}
        self._sql = _LOOK.format(queues=_NAMED if queues else _EVERY)
        self._every = not queues

    def pause(self, queues: Collection[bytes], tasks: Collection[bytes]) -> None:
        """From now on these are left out."""
        left = [task for task in self._tasks if task not in tasks]
        self._values = {**self._values, "tasks": left, "paused": list(queues)}
        self._paused = queues

    def look(self, run: Callable[..., Any], last_queue: bytes = b"") -> Look:
        alive, cancelled, queues, parked, limited, following = run(self._sql, **self._values).fetchone()
        queues = [name for name in queues if name not in self._paused]
        if self._every:  # in turn: those after the last one first
            queues = [name for name in queues if name > last_queue] + [name for name in queues if name <= last_queue]
        return Look(alive, cancelled, queues, parked, limited, math.inf if following is None else following)

    def unpark(self, tx: Transaction, n: int) -> list[Parked]:
        """Put up to `n` parked jobs that this consumer knows among the ready ones: a claim takes them in their order."""
        rows: list[Parked] = tx.run(
            f"DELETE FROM @.parked WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.parked WHERE {_MINE} "
            "ORDER BY rank, place LIMIT %(n)s FOR UPDATE SKIP LOCKED)) "
            f"RETURNING {FIELDS}, (SELECT gated FROM @.jobs WHERE place = parked.place), task, dead_at, reason",
            n=n,
            **self._values,
        ).fetchall()
        for row in rows:
            self._insert(tx, f"ready ({FIELDS}, gated)", row[:8])
            tx.count(row[1], State.WAITING, -1)
            tx.count(row[1], State.READY, 1)
        return rows

    def repark(self, tx: Transaction, rows: Sequence[Parked]) -> None:
        """Those that the claim did not take wait on."""
        for row in rows:
            gone = tx.run(
                "DELETE FROM @.ready WHERE queue = %(queue)b AND rank = %(rank)s AND place = %(place)s",
                place=row[0],
                queue=row[1],
                rank=row[2],
            )
            if gone.rowcount:
                self._insert(tx, f"parked ({FIELDS}, task, dead_at, reason)", row[:7] + row[8:])
                tx.count(row[1], State.READY, -1)
                tx.count(row[1], State.WAITING, 1)

    @staticmethod
    def _insert(tx: Transaction, where: str, row: Parked) -> None:
        values = {f"v{at}": value for at, value in enumerate(row)}
        marks = ", ".join(f"%(v{at})b" if isinstance(value, bytes) else f"%(v{at})s" for at, value in enumerate(row))
        tx.run(f"INSERT INTO @.{where} VALUES ({marks})", **values)
