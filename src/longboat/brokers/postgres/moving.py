"""Jobs on their way: rows that have the fields of `ready` go there, or where they wait for their time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from longboat.brokers.postgres.transaction import Transaction
from longboat.core.job import State

FIELDS = "place, queue, rank, attempts, returns, expires_at, failures"
"""What the tables that jobs wait in have in common."""

_LISTS = (
    "%(places)b::bigint[], %(queues)b::bytea[], %(ranks)b::bigint[], %(attempts)b::int[], %(worker_deaths)b::int[], "
    "%(expires)b::float8[], %(failures)b::bytea[]"
)
ROWS = f"unnest({_LISTS}) AS r ({FIELDS})"
_DUE = f"unnest(%(dues)b::float8[], {_LISTS}) AS r (due, {FIELDS})"


def columns(rows: Iterable[Any]) -> dict[str, list[Any]]:
    """The values of ROWS, from rows that have these fields."""
    rows = list(rows)
    return {
        "places": [row.place for row in rows],
        "queues": [row.queue for row in rows],
        "ranks": [row.rank for row in rows],
        "attempts": [row.attempts for row in rows],
        "worker_deaths": [row.worker_deaths for row in rows],
        "expires": [row.expires_at for row in rows],
        "failures": [row.failures for row in rows],
    }


def make_ready(tx: Transaction, rows: Sequence[Any]) -> None:
    """And whoever waits is told."""
    if rows:
        tx.run(
            f"INSERT INTO @.ready ({FIELDS}, gated) "
            f"SELECT r.*, (SELECT gated FROM @.jobs WHERE place = r.place) FROM {ROWS}",
            **columns(rows),
        )
        for row in rows:
            tx.count(row.queue, State.READY, 1)
        tx.tell("c")


def make_scheduled(tx: Transaction, rows: Sequence[tuple[float, Any]]) -> None:
    """Each with the time when it is due. Whoever waits is told, to wait no longer than that."""
    if rows:
        tx.run(
            f"INSERT INTO @.delayed (due, {FIELDS}) SELECT * FROM {_DUE}",
            dues=[due for due, _ in rows],
            **columns(row for _, row in rows),
        )
        for _, row in rows:
            tx.count(row.queue, State.SCHEDULED, 1)
        tx.tell("c")
