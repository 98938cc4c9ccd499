"""Limits: which leases count for a key, when they were started, and which jobs are blocked.

To change anything about a key, its row in `limits` is locked first: several keys in their order, after all else that the
transaction locks, and once in it. So no two transactions deadlock, and no limit is exceeded however many claim at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import psycopg.errors

from longboat.brokers.postgres.floors import LOOK
from longboat.brokers.postgres.kv import LASTING
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.rows import delete_some, insert, insert_values, take
from longboat.brokers.postgres.store import NOW, Transaction
from longboat.contract.limit_numbers import FORM, NAMESPACE, at_present
from longboat.core.constraints import JobLimit
from longboat.core.views import LimitView

_CHUNK = 500
_HOLDERS = 10


class Head(NamedTuple):
    """The first job that a key blocks in one queue, and what the key has for it."""

    key: bytes
    queue: bytes
    room: int
    """How many jobs with these numbers may start now."""
    opens: float | None
    """When it has room again, if only time blocks it."""
    timed: bool
    """Starts are limited."""


def _count(limit: str) -> str:
    """SQL: the starts that count now. Computed as `opens` is, so that both agree to the last bit."""
    return f"(SELECT count(*) FROM @.starts AS s WHERE s.key = {limit}.key AND s.at > t.now - {limit}.per - 1 " + (
        f"AND s.at + {limit}.per > t.now)"
    )


_FIRST = (
    "SELECT queue, running, starts, per, name FROM @.blocked WHERE key = {key} {after} "
    "ORDER BY key, queue, rank, place LIMIT 1"
)
_HEADS = f"""
    WITH RECURSIVE t AS MATERIALIZED (SELECT {NOW} AS now),
    heads AS (
        SELECT g.key, l.* FROM {{keys}} AS g (key)
        CROSS JOIN LATERAL ({_FIRST.format(key="g.key", after="")}) AS l
        UNION ALL
        SELECT h.key, l.* FROM heads AS h
        CROSS JOIN LATERAL ({_FIRST.format(key="h.key", after="AND queue > h.queue")}) AS l),
    present AS (
        SELECT h.key, h.queue,
            CASE WHEN e.n IS NULL THEN h.running ELSE nullif(e.n[1], 'null')::int END AS running,
            CASE WHEN e.n IS NULL THEN h.starts ELSE nullif(e.n[2], 'null')::int END AS starts,
            CASE WHEN e.n IS NULL THEN h.per ELSE e.n[3]::float8 END AS per
        FROM heads AS h LEFT JOIN LATERAL (
            SELECT regexp_match(encode(value, 'escape'), %(form)s) AS n FROM @.entries
            WHERE h.name <> '' AND namespace = '{NAMESPACE}' AND key = h.name AND {LASTING}) AS e ON TRUE)
    SELECT h.key, h.queue, greatest(0, least(r.running, r.starts))::int,
        CASE WHEN r.starts <= 0 AND r.running > 0 AND h.starts > 0 THEN (SELECT s.at + h.per FROM @.starts AS s
            WHERE s.key = h.key ORDER BY s.key DESC, s.at DESC OFFSET h.starts - 1 LIMIT 1) END,
        h.starts IS NOT NULL
    FROM present AS h CROSS JOIN t LEFT JOIN @.limits AS g ON g.key = h.key CROSS JOIN LATERAL (
        SELECT coalesce(h.running - coalesce(g.running, 0), {_CHUNK}) AS running,
            CASE WHEN h.starts IS NULL THEN {_CHUNK} ELSE h.starts - {_count("h")} END AS starts) AS r"""

_STARTED = f"""
    WITH t AS MATERIALIZED (SELECT {NOW} AS now)
    SELECT t.now, g.key, g.per, {_count("g")}
    FROM unnest(%(keys)b::bytea[], %(pers)b::float8[]) AS g (key, per) CROSS JOIN t"""

_HEADS_OF_KEYS = _HEADS.format(keys="unnest(%(keys)b::bytea[])")
_HEADS_WITH_ROOM = (
    _HEADS.format(keys="(SELECT key FROM @.limits WHERE opens IS NULL)")
    + f" WHERE least(r.running, r.starts) > 0 ORDER BY h.key LIMIT {_CHUNK}"
)

_ADD = (
    "UPDATE @.limits AS g SET running = g.running + f.n FROM unnest(%(keys)b::bytea[], %(ns)b::int[]) AS f (key, n) "
    "WHERE g.key = f.key"
)
_UNUSED = (
    "running = 0 AND NOT EXISTS (SELECT 1 FROM @.blocked AS b WHERE b.key = limits.key) "
    "AND NOT EXISTS (SELECT 1 FROM @.starts AS s WHERE s.key = limits.key)"
)


_PRESENT = (
    f"SELECT key, value FROM @.entries WHERE namespace = '{NAMESPACE}' AND key = ANY (%(names)b::bytea[]) AND {LASTING}"
)
_form = f"^{FORM}$"
_TOLD = (
    "SELECT coalesce(md5(string_agg(key || '\\x00' || value, '\\x00' ORDER BY key)), '') FROM @.entries "
    f"WHERE namespace = '{NAMESPACE}' AND {LASTING}"
)
_OPEN_NOW = (
    "UPDATE @.limits SET opens = %(at)s "
    "WHERE key = ANY (ARRAY(SELECT key FROM @.limits WHERE opens > %(at)s ORDER BY key FOR UPDATE))"
)


# --- at the claim (claim_limited.py)


def present(tx: Transaction, limits: Collection[JobLimit]) -> dict[JobLimit, JobLimit]:
    """Each of these with its present numbers."""
    names = {raw(limit.name) for limit in limits if limit.name}
    values = dict(tx.run(_PRESENT, names=list(names)).fetchall()) if names else {}
    return {limit: at_present(limit, values.get(raw(limit.name))) for limit in limits}


def lock(tx: Transaction, keys: Collection[bytes]) -> dict[bytes, int]:
    """Lock these keys until the transaction's end; returns how many leases each has.

    All rows exist before the first is locked: a missing one would have to be made while greater keys are locked.
    """
    ordered = sorted(keys)
    insert_values(tx, "limits", {"key": ordered}, {"running": "0"}, "ON CONFLICT DO NOTHING")
    rows = tx.run(
        "SELECT key, running FROM @.limits WHERE key = ANY (%(keys)b::bytea[]) ORDER BY key FOR UPDATE", keys=ordered
    ).fetchall()
    if len(rows) < len(ordered):
        raise psycopg.errors.SerializationFailure("an unused limit was deleted at that very moment")
    return dict(rows)


def started(tx: Transaction, windows: Collection[tuple[bytes, float]]) -> tuple[float, dict[tuple[bytes, float], int]]:
    """The time, and how many jobs of each key were leased in the last so many seconds. The keys are locked."""
    keys, pers = (list(each) for each in zip(*windows, strict=True))
    rows = tx.run(_STARTED, keys=keys, pers=pers).fetchall()
    return rows[0][0], {(key, per): n for _, key, per, n in rows}


def enter(tx: Transaction, leases: Sequence[tuple[bytes, int, int]]) -> None:
    """Leases (key, token, place) count for their limits from now on. The keys are locked."""
    keys = [key for key, *_ in leases]
    insert_values(tx, "holders", dict(zip(("key", "token", "place"), zip(*leases, strict=True), strict=True)))
    counts = Counter(keys)
    tx.run(_ADD, keys=list(counts), ns=list(counts.values()))


def start(tx: Transaction, starts: Sequence[tuple[bytes, float]], at: float) -> None:
    """Starts (key, seconds that they count) to be counted. The keys are locked."""
    until = [at + per for _, per in starts]
    insert_values(tx, "starts", {"key": [key for key, _ in starts], "at": [at] * len(starts), "until": until})


def watch(tx: Transaction, keys: Collection[bytes], known: Sequence[Head] | None = None) -> None:
    """Note when time alone gives these keys room for the first job that they block. `known`: their heads, before a move."""
    if known is None or any(head.timed for head in known):
        known = _heads(tx, keys)
    opens = dict.fromkeys(keys, math.inf)
    for head in known:
        opens[head.key] = min(opens[head.key], head.opens or math.inf)
    changed = tx.run(
        "UPDATE @.limits AS g SET opens = f.opens FROM unnest(%(keys)b::bytea[], %(opens)b::float8[]) AS f (key, opens) "
        "WHERE g.key = f.key AND g.opens IS DISTINCT FROM f.opens RETURNING f.opens",
        keys=list(opens),
        opens=[None if at == math.inf else at for at in opens.values()],
    ).fetchall()
    if any(at is not None for (at,) in changed):
        tx.notify(LOOK)  # those who wait must not wait longer than that


def _heads(tx: Transaction, keys: Iterable[bytes]) -> list[Head]:
    return [Head(*row) for row in tx.run(_HEADS_OF_KEYS, keys=list(keys), form=_form).fetchall()]


# --- when there may be room


def leave(tx: Transaction, tokens: Sequence[int]) -> None:
    """These leases have ended. At the transaction's end others are unblocked."""
    if tokens:
        gone = tx.run("DELETE FROM @.holders WHERE token = ANY (%(tokens)b::bigint[]) RETURNING key", tokens=list(tokens))
        _free(tx, Counter(key for (key,) in gone.fetchall()))


def due(tx: Transaction) -> None:
    """Where time has made room, some are unblocked at the transaction's end."""
    rows = tx.run("SELECT key FROM @.limits WHERE opens <= %(at)s ORDER BY opens LIMIT %(limit)s", at=tx.now, limit=_CHUNK)
    _free(tx, {key: 0 for (key,) in rows.fetchall()})


def with_room(tx: Transaction) -> None:
    """Where jobs are blocked although there is room, some are unblocked at the transaction's end."""
    _free(tx, {key: 0 for key, *_ in tx.run(_HEADS_WITH_ROOM, form=_form).fetchall()})


def heed(tx: Transaction, known: str) -> str:
    """If the numbers told are not `known`: it is worked out again when each key opens. Returns what is told."""
    told: str = tx.run(_TOLD).fetchone()[0]
    if told != known:
        tx.run(_OPEN_NOW, at=tx.now)
    return told


def _free(tx: Transaction, ended: dict[bytes, int]) -> None:
    for key, n in ended.items():
        tx.freed[key] = tx.freed.get(key, 0) + n
        tx.unblock = _unblock


def _unblock(tx: Transaction) -> None:
    """Where leases have ended, or time has passed, as many blocked jobs go back to their queues as there is room for.

    If they are too many, they are blocked again at the claim.
    """
    lock(tx, tx.freed)
    ended = {key: -n for key, n in tx.freed.items() if n}
    if ended:
        tx.run(_ADD, keys=list(ended), ns=list(ended.values()))
    heads = _heads(tx, tx.freed)
    if roomy := [head for head in heads if head.room]:
        found = (
            "SELECT l.ctid FROM unnest(%(keys)b::bytea[], %(queues)b::bytea[], %(rooms)b::int[]) AS g (key, queue, room) "
            "CROSS JOIN LATERAL (SELECT ctid FROM @.blocked WHERE key = g.key AND queue = g.queue "
            "ORDER BY key, queue, rank, place LIMIT g.room FOR UPDATE SKIP LOCKED) AS l"
        )
        keys, queues, rooms = (list(each) for each in zip(*((h.key, h.queue, h.room) for h in roomy), strict=True))
        rows = take(tx, "blocked", found, keys=keys, queues=queues, rooms=rooms)
        insert(tx, "ready", [row for (row,) in rows])
    watch(tx, tx.freed, known=heads)


def forget(tx: Transaction) -> None:
    """Delete starts that no longer count, and keys that are not in use."""
    delete_some(tx, "starts", "until <= %(at)s ORDER BY until", 20 * _CHUNK, at=tx.now)
    unused = tx.run(
        f"SELECT key FROM @.limits WHERE {_UNUSED} ORDER BY key LIMIT %(limit)s FOR UPDATE SKIP LOCKED", limit=_CHUNK
    ).fetchall()
    # Checked again now that the keys are locked.
    tx.run(f"DELETE FROM @.limits WHERE key = ANY (%(keys)b::bytea[]) AND {_UNUSED}", keys=[key for (key,) in unused])


# --- for people


def views(tx: Transaction, keys: Sequence[str]) -> list[LimitView | None]:
    """See Inspector.limits."""
    wanted = list(dict.fromkeys(map(raw, keys)))
    rows = tx.run(
        "SELECT g.key, coalesce((SELECT running FROM @.limits WHERE key = g.key), 0), "
        "ARRAY(SELECT j.id FROM @.holders AS h CROSS JOIN LATERAL (SELECT id FROM @.jobs WHERE place = h.place OFFSET 0) "
        f"AS j WHERE h.key = g.key ORDER BY h.token LIMIT {_HOLDERS}), "
        "(SELECT count(*) FROM @.blocked WHERE key = g.key), "
        "(SELECT count(*) FROM @.starts WHERE key = g.key AND until > %(at)s) "
        "FROM unnest(%(keys)b::bytea[]) AS g (key)",
        keys=wanted,
        at=tx.now,
    ).fetchall()
    opens: dict[bytes, float] = {}
    for head in _heads(tx, wanted):
        if head.opens is not None:
            opens[head.key] = min(head.opens, opens.get(head.key, math.inf))
    found: dict[str, LimitView] = {}
    for key, running, holders, waiting, starts in rows:
        if running or waiting or starts:
            ids = [name_of(each) for each in holders]
            found[name_of(key)] = LimitView(name_of(key), running, ids, waiting, starts, opens.get(key))
    return [found.get(key) for key in keys]
