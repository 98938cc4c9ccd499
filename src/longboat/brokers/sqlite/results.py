"""Results out of the store: looked up by id, or listened for."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection, Sequence

import msgspec

from longboat.brokers.sqlite.packing import as_json
from longboat.brokers.sqlite.places import places
from longboat.brokers.sqlite.store import Store
from longboat.brokers.sqlite.wake import LISTENER, Bell
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Result, State
from longboat.errors import Undecodable

_LOOK_ANYWAY = 0.5
"""Seconds between looks while nothing happens: what heals a wake-up that was missed."""
_CHUNK = 500
"""Results read under one lock on the past, at most."""

_texts = msgspec.json.Decoder(list[str])


class SqliteResults:
    """Results are kept by the settling itself, for each job's `keep` seconds."""

    def __init__(self, store: Store, wake: str) -> None:
        self._store = store
        self._wake = wake

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        found: dict[str, Result] = {}
        for start in range(0, len(ids), _CHUNK):
            with self._store.read() as db:
                found.update((result.id, result) for result in _ended(db, ids[start : start + _CHUNK]))
        return [found.get(job_id) for job_id in ids]

    def listen(self) -> SqliteListener:
        return SqliteListener(self._store, self._wake)


class SqliteListener:
    """Reads what has ended since it looked last, and what is newly watched by id."""

    def __init__(self, store: Store, wake: str) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._fresh: list[str] = []
        self._woken = False
        self._closed = False
        with store.read() as db:
            self._seen = _last_number(db)
        self._bell = Bell(wake, LISTENER + os.urandom(8).hex())

    def watch(self, ids: Sequence[str]) -> None:
        with self._lock:
            self._watched.update(ids)
            self._fresh += ids
        self._bell.ring()

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            self._watched.difference_update(ids)

    def wait(self, timeout: float) -> list[Result]:
        until = SYSTEM.monotonic() + timeout
        while not self._closed:
            self._bell.listen()
            results = self._look()
            left = until - SYSTEM.monotonic()
            woken, self._woken = self._woken, False
            if results or woken or left <= 0:
                return results
            self._bell.wait(min(left, _LOOK_ANYWAY))
        return []

    def wake(self) -> None:
        self._woken = True
        self._bell.ring()

    def close(self) -> None:
        self._closed = True
        self._bell.close()

    def _look(self) -> list[Result]:
        with self._lock:
            fresh, self._fresh = self._fresh, []
            watched = self._watched.copy() if len(self._watched) < _CHUNK else self._watched
        found: list[Result] = []
        try:
            with self._store.read() as db:
                ended = {*fresh, *self._newly_ended(db, watched)}
            for start in range(0, len(ended), _CHUNK):
                with self._store.read() as db:
                    found += _ended(db, list(ended)[start : start + _CHUNK])
        except BaseException:
            with self._lock:
                self._fresh += fresh
            raise
        with self._lock:
            given = [result for result in found if result.id in self._watched]
            self._watched.difference_update(result.id for result in given)
        return given

    def _newly_ended(self, db: sqlite3.Connection, watched: Collection[str]) -> list[str]:
        """Watched ids that have ended since the last look."""
        db.execute("BEGIN")
        try:
            last = _last_number(db)
            found: list[str] = []
            if last != self._seen and watched:
                for queue, state in db.execute(
                    "SELECT queue, state FROM counters WHERE n > 0 AND state IN ('succeeded', 'dead', 'cancelled')"
                ).fetchall():
                    ids = db.execute(
                        "SELECT json_group_array(id) FROM ended WHERE state = ? AND queue = ? AND n > ?",
                        (state, queue, self._seen),
                    ).fetchone()[0]
                    found += [job_id for job_id in _texts.decode(ids) if job_id in watched]
        finally:
            db.execute("ROLLBACK")
        self._seen = last
        return found


def _last_number(db: sqlite3.Connection) -> int:
    last: int = db.execute("SELECT value FROM numbers WHERE name = 'ended'").fetchone()[0]
    return last


def _ended(db: sqlite3.Connection, ids: Collection[str]) -> list[Result]:
    """The results of those that have ended."""
    wanted = places(db, ids)
    if not wanted:
        return []
    rows = db.execute(
        """
        SELECT e.id, e.state, e.result, e.failures, e.attempts, m.body
        FROM json_each(?) AS j CROSS JOIN ended AS e ON e.seq = j.value
        LEFT JOIN jobs AS m ON m.seq = e.seq AND m.id = e.id""",
        (as_json(sorted(set(wanted.values()))),),
    )
    return [_result(*row) for row in rows.fetchall() if row[0] in wanted]


def _result(id: str, state: str, value: bytes | None, failures: bytes | None, attempts: int, body: bytes | None) -> Result:
    if state == State.SUCCEEDED.value:
        return Result(id, State.SUCCEEDED, value, None, _task(body), attempts)
    told = codec.decode_failures(failures)
    return Result(id, State(state), None, told[-1] if told else None, _task(body), attempts)


def _task(body: bytes | None) -> str:
    try:
        return codec.decode_job(body).task if body else ""
    except Undecodable:
        return ""
