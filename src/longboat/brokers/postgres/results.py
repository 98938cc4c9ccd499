"""Results out of the store: looked up by id, or listened for."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.notifications import LOOK_ANYWAY, NotificationWaiter
from longboat.brokers.postgres.rows import WALL
from longboat.brokers.postgres.store import Store
from longboat.contract.base import BaseListener
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Result, State
from longboat.core.portions import asked
from longboat.core.views import job_or_none, result_of
from longboat.errors import BrokerError

_CHUNK = 500
"""Results read by one statement, at most."""
_MARK = 10.0
"""Seconds that the server takes a listener for one that waits."""
_LOOK_ALL = 5.0
"""Seconds between looks at everything that is watched: heals what was missed."""

_FOUND = """
    SELECT j.id, j.place, e.state, e.result, e.failures, e.attempts, j.body
    FROM unnest(%(ids)b::bytea[]) AS g (id)
    CROSS JOIN LATERAL (SELECT place, id, body FROM @.jobs WHERE id = g.id OFFSET 0) AS j
    LEFT JOIN LATERAL (SELECT state, result, failures, attempts FROM @.ended WHERE place = j.place OFFSET 0) AS e ON TRUE"""


class PostgresResults:
    """Results are kept by the settling itself, for each job's `keep` seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        rows = asked(ids, _CHUNK, lambda some: self._store.call(_FOUND, ids=list(map(raw, some))), _weight)
        found = {name_of(row[0]): _result(row) for row in rows if row[2] is not None}
        return [found.get(job_id) for job_id in ids]

    def listen(self) -> PostgresListener:
        return PostgresListener(self._store)


class PostgresListener(BaseListener):
    """Is told the places of jobs that end. It knows the places of watched jobs by looking them up, once they are put."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._id = os.urandom(8).hex()
        self._waiter = NotificationWaiter(store)
        self._places: dict[str, int] = {}
        """Of watched ids, once they are known."""
        self._ids: dict[int, str] = {}
        self._ended: set[str] = set()
        """What was notified since the last look."""
        self._marked = self._looked = self._asked = -math.inf

    def _hear(self, until: float) -> list[Result]:
        try:
            with self._store.pool.translating():
                return super()._hear(until)
        except BaseException:
            self._waiter.drop()
            self._looked = -math.inf  # all that is watched is looked at again
            raise

    def _look(self, fresh: Collection[str]) -> Iterable[Result]:
        self._mark()
        now = SYSTEM.monotonic()
        with self._lock:
            unplaced = set[str]()
            if now - self._asked >= LOOK_ANYWAY:
                self._asked = now
                unplaced = self._watched - self._places.keys()
            every = 0.0 if self._waiter.is_deaf else self._waiter.pause(self._looked, _LOOK_ALL)
            wanted = self._ended | unplaced | (self._watched & set(fresh))
            if now - self._looked >= every:
                self._looked = now
                wanted = set(self._watched)
            self._ended = set()

        def ask(ids: Sequence[str]) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = self._waiter.run(_FOUND, ids=list(map(raw, ids))).fetchall()
            with self._lock:
                for job_id, place in ((name_of(row[0]), row[1]) for row in rows):
                    if job_id in self._watched:
                        self._places[job_id] = place
                        self._ids[place] = job_id
            return rows

        return [_result(row) for row in asked(list(wanted), _CHUNK, ask, _weight) if row[2] is not None]

    def _mark(self) -> None:
        """Have the server notify this listener."""
        now = SYSTEM.monotonic()
        self._waiter.connection()
        if self._waiter.fresh:
            self._marked = self._looked = -math.inf
            self._waiter.fresh = False
        if not self._waiter.is_deaf and now - self._marked > _MARK / 3:
            self._waiter.run(
                f"INSERT INTO @.listeners VALUES (%(id)s, {WALL} + {_MARK}) "
                "ON CONFLICT (id) DO UPDATE SET until = excluded.until",
                id=self._id,
            )
            if now - self._marked > _MARK:
                self._looked = -math.inf
                self._waiter.marked()
            self._marked = now

    def _wait(self, until: float) -> None:
        left = until - SYSTEM.monotonic()
        payloads = self._waiter.wait(min(left, self._waiter.pause(self._looked)))
        places = {int(place) for each in payloads if each.startswith("e") for place in each[1:].split(",")}
        with self._lock:
            self._ended |= {self._ids[place] for place in places if place in self._ids}

    def _unwatch(self, ids: Collection[str]) -> None:
        super()._unwatch(ids)
        for job_id in ids:
            self._ids.pop(self._places.pop(job_id, -1), None)

    def _ring(self) -> None:
        self._waiter.ring()

    def _end(self) -> None:
        with self._waiting:
            self._waiter.close()
        with contextlib.suppress(BrokerError):
            self._store.write(lambda tx: tx.run("DELETE FROM @.listeners WHERE id = %(id)s", id=self._id).rowcount)


def _weight(row: Sequence[Any]) -> int:
    """Bytes of its result and its message."""
    return len(row[3] or b"") + len(row[6] or b"")


def _result(row: Sequence[Any]) -> Result:
    stored, _, state, value, failures, attempts, body = row
    job = job_or_none(body)
    return result_of(
        name_of(stored),
        State(state),
        value=value,
        failures=codec.decode_failures(failures),
        task=job.task if job else "",
        attempts=attempts,
    )
