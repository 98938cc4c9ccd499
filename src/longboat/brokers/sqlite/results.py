"""Results out of the store: looked up by id, or listened for."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from longboat.brokers.sqlite.packing import as_json
from longboat.brokers.sqlite.places import places_of
from longboat.brokers.sqlite.store import Store
from longboat.brokers.sqlite.wake import LISTENER, LOOK_ANYWAY, Bell
from longboat.contract.base import BaseListener
from longboat.contract.base_pages import batches
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Result, State
from longboat.core.views import job_or_none, result_of

_CHUNK = 500
"""Results read under one lock on the past, at most."""

_texts = msgspec.json.Decoder(list[str])


class SqliteResults:
    """Results are kept by the settling itself, for each job's `keep` seconds."""

    def __init__(self, store: Store, wake: str) -> None:
        self._store = store
        self._wake = wake

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        found = {result.id: result for result in _results(self._store, ids)}
        return [found.get(job_id) for job_id in ids]

    def listen(self) -> SqliteListener:
        return SqliteListener(self._store, self._wake)


class SqliteListener(BaseListener):
    """Reads what has ended since it looked last; what is newly watched it looks up by id."""

    def __init__(self, store: Store, wake: str) -> None:
        super().__init__()
        self._store = store
        with store.read() as db:
            self._seen = _last_number(db)
        self._bell = Bell(wake, LISTENER + os.urandom(8).hex())

    def _look(self, fresh: Collection[str]) -> Iterable[Result]:
        self._bell.listen()
        with self._store.read() as db:
            ended = list({*fresh, *self._newly_ended(db)})
            if len(ended) <= _CHUNK:
                return _found(db, ended)
        return _results(self._store, ended)

    def _wait(self, until: float) -> None:
        self._bell.wait(min(until - SYSTEM.monotonic(), LOOK_ANYWAY))

    def _ring(self) -> None:
        self._bell.ring()

    def _end(self) -> None:
        self._bell.close()

    def _newly_ended(self, db: sqlite3.Connection) -> list[str]:
        """Watched ids that have ended since the last look."""
        db.execute("BEGIN")
        last = _last_number(db)
        found: list[str] = []
        if last != self._seen and self._watched:
            for queue, state in db.execute(
                "SELECT queue, state FROM longboat_counts WHERE n > 0 AND state IN ('succeeded', 'dead', 'cancelled')"
            ).fetchall():
                ids = db.execute(
                    "SELECT json_group_array(id) FROM longboat_ended WHERE state = ? AND queue = ? AND n > ?",
                    (state, queue, self._seen),
                ).fetchone()[0]
                found += [job_id for job_id in _texts.decode(ids) if job_id in self._watched]
        self._seen = last
        return found


def _last_number(db: sqlite3.Connection) -> int:
    last: int = db.execute("SELECT value FROM longboat_numbers WHERE name = 'ended'").fetchone()[0]
    return last


def _results(store: Store, ids: Sequence[str]) -> list[Result]:
    """The results of those that have ended."""
    found: list[Result] = []
    for part in batches(ids, _CHUNK):
        with store.read() as db:
            found += _found(db, part)
    return found


def _found(db: sqlite3.Connection, ids: Sequence[str]) -> list[Result]:
    """As `_results`, of a few."""
    wanted = places_of(db, ids) if ids else {}
    if not wanted:
        return []
    rows = db.execute(
        """
        SELECT e.id, e.state, e.result, e.failures, e.attempts, m.message
        FROM json_each(?) AS j CROSS JOIN longboat_ended AS e ON e.seq = j.value
        LEFT JOIN longboat_jobs AS m ON m.seq = e.seq AND m.id = e.id""",
        (as_json(sorted(set(wanted.values()))),),
    ).fetchall()
    return [_result(row) for row in rows if row[0] in wanted]


def _result(row: Any) -> Result:
    job_id, state, value, failures, attempts, message = row
    job, told = job_or_none(message), codec.decode_failures(failures)
    return result_of(job_id, State(state), value=value, failures=told, task=job.task if job else "", attempts=attempts)
