"""Limits: what the jobs of a key hold, when they started, and who waits in front of it.

Whoever changes anything about a key has locked its row in `gates`: of several keys in their order, last of all that is
locked in a transaction, and once in it. So no two wait for each other, and no limit is passed however many claim at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import psycopg.errors

from longboat.brokers.postgres.moving import FIELDS, make_ready
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.transaction import NOW, Transaction
from longboat.core.job import State
from longboat.core.views import LimitView

EVERY = 1.0
"""Seconds between one process's rounds of letting in wherever there is room that nobody took."""
_CHUNK = 500
_HOLDERS = 10


class Head(NamedTuple):
    """The first of a line, and what there is of its key."""

    key: bytes
    queue: bytes
    running: int | None
    starts: int | None
    held: int
    started: int
    """Starts that count at present, by its own number of seconds."""
    opens: float | None
    """When the oldest of its last `starts` starts counts no more; in the past or None: there are not so many."""

    @property
    def room(self) -> int:
        return max(0, min(self._places, self._starts))

    @property
    def _places(self) -> int:
        return _CHUNK if self.running is None else self.running - self.held

    @property
    def _starts(self) -> int:
        return _CHUNK if self.starts is None else self.starts - self.started

    @property
    def opens_by_itself(self) -> float | None:
        """When it opens, if it is time that shuts it."""
        return self.opens if self._starts <= 0 < self._places else None


class _CandidateRow(NamedTuple):
    place: int
    queue: bytes
    rank: int
    attempts: int
    worker_deaths: int
    expires_at: float | None
    failures: bytes | None


def _count(limit: str) -> str:
    """SQL: the starts that count now. By the same sum as when it opens, so that both agree to the last bit."""
    return f"(SELECT count(*) FROM @.starts AS s WHERE s.key = {limit}.key AND s.at > t.now - {limit}.per - 1 " + (
        f"AND s.at + {limit}.per > t.now)"
    )


_FIRST = "SELECT queue, running, starts, per FROM @.lined WHERE key = {key} {after} ORDER BY key, queue, rank, place LIMIT 1"
_HEADS = f"""
    WITH RECURSIVE t AS MATERIALIZED (SELECT {NOW} AS now),
    heads AS (
        SELECT g.key, l.* FROM unnest(%(keys)b::bytea[]) AS g (key)
        CROSS JOIN LATERAL ({_FIRST.format(key="g.key", after="")}) AS l
        UNION ALL
        SELECT h.key, l.* FROM heads AS h
        CROSS JOIN LATERAL ({_FIRST.format(key="h.key", after="AND queue > h.queue")}) AS l)
    SELECT h.key, h.queue, h.running, h.starts, coalesce(g.held, 0),
        CASE WHEN h.starts IS NULL THEN 0 ELSE {_count("h")} END,
        CASE WHEN h.starts > 0 THEN (SELECT s.at + h.per FROM @.starts AS s WHERE s.key = h.key
            ORDER BY s.key DESC, s.at DESC OFFSET h.starts - 1 LIMIT 1) END
    FROM heads AS h CROSS JOIN t LEFT JOIN @.gates AS g ON g.key = h.key"""

_STARTED = f"""
    WITH t AS MATERIALIZED (SELECT {NOW} AS now)
    SELECT t.now, g.key, g.per, {_count("g")}
    FROM unnest(%(keys)b::bytea[], %(pers)b::float8[]) AS g (key, per) CROSS JOIN t"""

_ROOM = f"""
    SELECT g.key FROM @.gates AS g CROSS JOIN LATERAL (
        WITH RECURSIVE heads AS (
            ({_FIRST.format(key="g.key", after="")})
            UNION ALL
            SELECT l.* FROM heads AS h
            CROSS JOIN LATERAL ({_FIRST.format(key="g.key", after="AND queue > h.queue")}) AS l)
        SELECT 1 FROM heads WHERE running IS NULL OR g.held < running LIMIT 1) AS l
    WHERE g.opens IS NULL ORDER BY g.key LIMIT %(limit)s"""


def lock(tx: Transaction, keys: Collection[bytes]) -> dict[bytes, int]:
    """Keep others from these keys until the transaction's end; how many each holds.

    All rows are there before the first is locked: who found one missing then would hold greater keys than it waits for.
    """
    ordered = sorted(keys)
    tx.run(
        "INSERT INTO @.gates (key, held) SELECT key, 0 FROM unnest(%(keys)b::bytea[]) AS g (key) ORDER BY key "
        "ON CONFLICT DO NOTHING",
        keys=ordered,
    )
    rows = tx.run(
        "SELECT key, held FROM @.gates WHERE key = ANY (%(keys)b::bytea[]) ORDER BY key FOR UPDATE", keys=ordered
    ).fetchall()
    if len(rows) < len(ordered):
        raise psycopg.errors.SerializationFailure("a limit that nobody held was forgotten at that very moment")
    return dict(rows)


def started(tx: Transaction, windows: Collection[tuple[bytes, float]]) -> tuple[float, dict[tuple[bytes, float], int]]:
    """The time, and how many jobs of each key were leased in the last so many seconds. The keys are locked."""
    keys, pers = (list(each) for each in zip(*windows, strict=True))
    rows = tx.run(_STARTED, keys=keys, pers=pers).fetchall()
    return rows[0][0], {(key, per): n for _, key, per, n in rows}


def leave(tx: Transaction, tokens: Sequence[int]) -> None:
    """These leases have ended: at the transaction's end others are let in instead."""
    if tokens:
        gone = tx.run("DELETE FROM @.holds WHERE token = ANY (%(tokens)b::bigint[]) RETURNING key", tokens=list(tokens))
        for (key,) in gone.fetchall():
            tx.freed[key] = tx.freed.get(key, 0) + 1


def due(tx: Transaction) -> int:
    """What time has opened: at the transaction's end some are let in. Returns for how many keys."""
    rows = tx.run(
        "SELECT key FROM @.gates WHERE opens <= %(at)s ORDER BY opens LIMIT %(limit)s", at=tx.now, limit=_CHUNK
    ).fetchall()
    for (key,) in rows:
        tx.freed.setdefault(key, 0)
    return len(rows)


def unblock(tx: Transaction) -> None:
    """Where leases have ended, or time has opened: as many go back to their queues as there is room for.

    What is too many lines up again as it is claimed.
    """
    lock(tx, tx.freed)
    ended = {key: n for key, n in tx.freed.items() if n}
    if ended:
        tx.run(
            "UPDATE @.gates AS g SET held = g.held - f.n FROM unnest(%(keys)b::bytea[], %(ns)b::int[]) AS f (key, n) "
            "WHERE g.key = f.key",
            keys=list(ended),
            ns=list(ended.values()),
        )
    heads = _heads(tx, tx.freed)
    _move(tx, [head for head in heads if head.room])
    watch(tx, tx.freed, known=heads)


def _heads(tx: Transaction, keys: Iterable[bytes]) -> list[Head]:
    return [Head(*row) for row in tx.run(_HEADS, keys=list(keys)).fetchall()]


def _move(tx: Transaction, heads: Sequence[Head]) -> None:
    """So many from each line's front back to its queue as there is room for."""
    if not heads:
        return
    rows = tx.run(
        "DELETE FROM @.lined WHERE ctid = ANY (ARRAY(SELECT l.ctid "
        "FROM unnest(%(keys)b::bytea[], %(queues)b::bytea[], %(rooms)b::int[]) AS g (key, queue, room) "
        "CROSS JOIN LATERAL (SELECT ctid FROM @.lined WHERE key = g.key AND queue = g.queue "
        "ORDER BY key, queue, rank, place LIMIT g.room FOR UPDATE SKIP LOCKED) AS l)) "
        f"RETURNING {FIELDS}",
        keys=[head.key for head in heads],
        queues=[head.queue for head in heads],
        rooms=[head.room for head in heads],
    ).fetchall()
    back = [_CandidateRow(*row) for row in rows]
    for row in back:
        tx.count(row.queue, State.WAITING, -1)
    make_ready(tx, back)


def watch(tx: Transaction, keys: Collection[bytes], known: Sequence[Head] | None = None) -> None:
    """Note when time alone will open these for the first of their lines. `known`: the heads before some were let in."""
    if known is None or any(head.starts is not None for head in known):
        known = _heads(tx, keys)
    opens = dict.fromkeys(keys, math.inf)
    for head in known:
        opens[head.key] = min(opens[head.key], head.opens_by_itself or math.inf)
    changed = tx.run(
        "UPDATE @.gates AS g SET opens = f.opens FROM unnest(%(keys)b::bytea[], %(opens)b::float8[]) AS f (key, opens) "
        "WHERE g.key = f.key AND g.opens IS DISTINCT FROM f.opens RETURNING f.opens",
        keys=list(opens),
        opens=[None if at == math.inf else at for at in opens.values()],
    ).fetchall()
    if any(at is not None for (at,) in changed):
        tx.tell("c")  # who waits must wait no longer than that


def tidy(tx: Transaction) -> None:
    """Let in wherever there is a line and room, and forget what nobody holds or stands for."""
    tx.run(
        "DELETE FROM @.starts WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.starts WHERE until <= %(at)s "
        "ORDER BY until LIMIT %(limit)s FOR UPDATE SKIP LOCKED))",
        at=tx.now,
        limit=20 * _CHUNK,
    )
    idle = tx.run(
        "SELECT key FROM @.gates AS g WHERE held = 0 AND NOT EXISTS (SELECT 1 FROM @.lined WHERE key = g.key) "
        "AND NOT EXISTS (SELECT 1 FROM @.starts WHERE key = g.key) ORDER BY key LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
        limit=_CHUNK,
    ).fetchall()
    tx.run(  # looked at again now that nobody can come
        "DELETE FROM @.gates AS g WHERE key = ANY (%(keys)b::bytea[]) AND held = 0 "
        "AND NOT EXISTS (SELECT 1 FROM @.lined WHERE key = g.key) AND NOT EXISTS (SELECT 1 FROM @.starts WHERE key = g.key)",
        keys=[key for (key,) in idle],
    )


def with_room(tx: Transaction) -> None:
    """Where there is a line and room: some are let in at the transaction's end."""
    rows = tx.run(_ROOM, limit=_CHUNK).fetchall()
    for (key,) in rows:
        tx.freed.setdefault(key, 0)


def views(tx: Transaction, keys: Sequence[str]) -> list[LimitView | None]:
    """See the contract of Inspector.gates."""
    wanted = list(dict.fromkeys(map(raw, keys)))
    rows = tx.run(
        "SELECT g.key, coalesce((SELECT held FROM @.gates WHERE key = g.key), 0), "
        "ARRAY(SELECT j.id FROM @.holds AS h CROSS JOIN LATERAL (SELECT id FROM @.jobs WHERE place = h.place OFFSET 0) AS j "
        f"WHERE h.key = g.key ORDER BY h.token LIMIT {_HOLDERS}), "
        "(SELECT count(*) FROM @.lined WHERE key = g.key), "
        "(SELECT count(*) FROM @.starts WHERE key = g.key AND until > %(at)s) "
        "FROM unnest(%(keys)b::bytea[]) AS g (key)",
        keys=wanted,
        at=tx.now,
    ).fetchall()
    opens: dict[bytes, float] = {}
    for head in _heads(tx, wanted):
        if (at := head.opens_by_itself) is not None:
            opens[head.key] = min(at, opens.get(head.key, math.inf))
    found: dict[str, Any] = {}
    for key, held, holders, waiting, starts in rows:
        if held or waiting or starts:
            name = name_of(key)
            ids = [name_of(each) for each in holders]
            found[name] = LimitView(name, held, ids, waiting, starts, opens.get(key))
    return [found.get(key) for key in keys]


def enter(tx: Transaction, taken: Sequence[tuple[bytes, int, int]]) -> None:
    """Leases (key, token, place) count for their limits from now on. The keys are locked."""
    keys, tokens, places = (list(each) for each in zip(*taken, strict=True))
    tx.run(
        "INSERT INTO @.holds (key, token, place) "
        "SELECT * FROM unnest(%(keys)b::bytea[], %(tokens)b::bigint[], %(places)b::bigint[])",
        keys=keys,
        tokens=tokens,
        places=places,
    )
    counts = Counter(keys)
    tx.run(
        "UPDATE @.gates AS g SET held = g.held + f.n FROM unnest(%(keys)b::bytea[], %(ns)b::int[]) AS f (key, n) "
        "WHERE g.key = f.key",
        keys=list(counts),
        ns=list(counts.values()),
    )


def start(tx: Transaction, begun: Sequence[tuple[bytes, float]], at: float) -> None:
    """Starts (key, seconds that they matter) to be counted. The keys are locked."""
    keys, pers = (list(each) for each in zip(*begun, strict=True))
    tx.run(
        "INSERT INTO @.starts (key, at, until) SELECT key, %(at)s::float8, %(at)s::float8 + per "
        "FROM unnest(%(keys)b::bytea[], %(pers)b::float8[]) AS g (key, per)",
        keys=keys,
        pers=pers,
        at=at,
    )
