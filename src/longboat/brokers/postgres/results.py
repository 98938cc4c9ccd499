"""Results out of the store: looked up by id, or listened for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Sequence
from typing import Any

from longboat.brokers.postgres.ending import WALL
from longboat.brokers.postgres.line import ListenConnection
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.sweep import sweep
from longboat.brokers.postgres.wait import LOOK_ANYWAY, Bell, Watch
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Result, State
from longboat.errors import BrokerError, Undecodable

_CHUNK = 500
"""Results read by one statement, at most."""
_MARK = 10.0
"""Seconds that the server takes a listener for one that waits."""
_LOOK_ALL = 5.0
"""Seconds between looks at everything that is watched: heals what was missed."""

_ENDED = """
    SELECT j.id, e.state, e.result, e.failures, e.attempts, j.body
    FROM unnest(%(ids)b::bytea[]) AS g (id)
    CROSS JOIN LATERAL (SELECT place, id, body FROM @.jobs WHERE id = g.id OFFSET 0) AS j
    CROSS JOIN LATERAL (
        SELECT state, result, failures, attempts FROM @.ended WHERE place = j.place OFFSET 0) AS e"""
_PLACES = """
    SELECT j.place, j.id FROM unnest(%(ids)b::bytea[]) AS g (id)
    CROSS JOIN LATERAL (SELECT place, id FROM @.jobs WHERE id = g.id OFFSET 0) AS j"""


class PostgresResults:
    """Results are kept by the settling itself, for each job's `keep` seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        found: dict[str, Result] = {}
        for start in range(0, len(ids), _CHUNK):
            rows = self._store.call(_ENDED, ids=[raw(each) for each in ids[start : start + _CHUNK]])
            found.update((result.id, result) for result in map(_result, rows))
        return [found.get(job_id) for job_id in ids]

    def listen(self) -> PostgresListener:
        return PostgresListener(self._store)


class PostgresListener:
    """Is told the places of what ends; what is newly watched it looks up by id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._id = os.urandom(8).hex()
        self._line = ListenConnection(store)
        self._bell = Bell()
        self._watch = Watch()
        self._lock = threading.Lock()
        self._waiting = threading.Lock()
        self._watched: dict[str, int | None] = {}
        """With the place of each, once it is known."""
        self._ids: dict[int, str] = {}
        self._fresh: set[str] = set()
        self._marked = self._looked = self._asked = self._swept = -1e9
        self._woken = False
        self._closed = False

    def watch(self, ids: Sequence[str]) -> None:
        with self._lock:
            for job_id in ids:
                self._watched.setdefault(job_id, None)
            self._fresh.update(ids)
        self._bell.ring()

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            for job_id in ids:
                self._drop(job_id)

    def wait(self, timeout: float) -> list[Result]:
        until = SYSTEM.monotonic() + timeout
        with self._waiting:
            try:
                with self._store.told_well():
                    return self._wait(until)
            except BaseException:
                self._line.drop()
                self._looked = -1e9  # all that is watched is looked at again
                raise
            finally:
                self._woken = False

    def wake(self) -> None:
        self._woken = True
        self._bell.ring()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._bell.ring()
        with self._waiting:
            self._line.drop()
            self._bell.close()
        with contextlib.suppress(BrokerError):
            self._store.write(lambda tx: tx.run("DELETE FROM @.watchers WHERE id = %(id)s", id=self._id).rowcount)

    def _wait(self, until: float) -> list[Result]:
        ended: set[str] = set()
        while not self._closed:
            self._mark()
            results = self._look(ended)
            left = until - SYSTEM.monotonic()
            if results or self._woken or left <= 0:
                return results
            self._tend()
            ended = self._heard(self._bell.wait(self._line, min(left, self._watch.pause(self._looked))))
        return []

    def _mark(self) -> None:
        now = SYSTEM.monotonic()
        self._line.link()
        if self._line.fresh:
            self._marked = self._looked = -1e9
            self._line.fresh = False
        if not self._line.is_deaf and now - self._marked > _MARK / 3:
            self._line.run(
                f"INSERT INTO @.watchers VALUES (%(id)s, {WALL} + {_MARK}) "
                "ON CONFLICT (id) DO UPDATE SET until = excluded.until",
                id=self._id,
            )
            if now - self._marked > _MARK:
                self._looked = -1e9
                self._watch.begin()
            self._marked = now

    def _heard(self, told: Sequence[str]) -> set[str]:
        with self._lock:
            return {
                self._ids[int(place)]
                for payload in told
                if payload.startswith("e")
                for place in payload[1:].split(",")
                if int(place) in self._ids
            }

    def _look(self, ended: Collection[str]) -> list[Result]:
        now = SYSTEM.monotonic()
        with self._lock:
            fresh, self._fresh = self._fresh, set()
            if now - self._asked >= LOOK_ANYWAY:
                self._asked = now
                fresh |= {job_id for job_id, place in self._watched.items() if place is None}
            every = self._watch.pause(self._looked, _LOOK_ALL) if not self._line.is_deaf else 0.0
            if now - self._looked >= every:
                self._looked = now
                wanted = set(self._watched)
            else:
                unknown = {job_id for job_id in fresh if job_id in self._watched}
                wanted = {*ended, *unknown}
        found: list[Result] = []
        try:
            self._find_places(fresh)
            for part in _parts(list(wanted)):
                found += map(_result, self._line.run(_ENDED, ids=part).fetchall())
        except BaseException:
            with self._lock:
                self._fresh |= fresh
            raise
        with self._lock:
            given = [result for result in found if result.id in self._watched]
            for result in given:
                self._drop(result.id)
        return given

    def _find_places(self, fresh: Collection[str]) -> None:
        for part in _parts(list(fresh)):
            for place, stored in self._line.run(_PLACES, ids=part).fetchall():
                job_id = name_of(stored)
                with self._lock:
                    if job_id in self._watched:
                        self._watched[job_id] = place
                        self._ids[place] = job_id

    def _tend(self) -> None:
        """Do what is due, since there may be no worker to do it."""
        now = SYSTEM.monotonic()
        if now - self._swept >= LOOK_ANYWAY:
            self._swept = now
            self._store.write(sweep)

    def _drop(self, job_id: str) -> None:
        place = self._watched.pop(job_id, None)
        if place is not None:
            self._ids.pop(place, None)


def _parts(ids: list[str]) -> list[list[bytes]]:
    return [[raw(each) for each in ids[start : start + _CHUNK]] for start in range(0, len(ids), _CHUNK)]


def _result(row: Any) -> Result:
    stored, state, value, failures, attempts, body = row
    job_id = name_of(stored)
    if state == State.SUCCEEDED.value:
        return Result(job_id, State.SUCCEEDED, value, None, _task(body), attempts)
    told = codec.decode_failures(failures)
    return Result(job_id, State(state), None, told[-1] if told else None, _task(body), attempts)


def _task(body: bytes | None) -> str:
    try:
        return codec.decode_job(body).task if body else ""
    except Undecodable:
        return ""
