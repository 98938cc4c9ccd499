"""PostgresBoard: notes beside the jobs, rows of `notes` by space and key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import NOW, Transaction
from longboat.contract.kv import NOTE_LIMIT, Note
from longboat.errors import TooLarge

_LASTING = f"(until IS NULL OR until > {NOW})"
"""SQL: the note is there."""
_GIVEN = (
    f"SELECT %(space)b::bytea, g.key, g.value, {NOW} + g.keep "
    "FROM unnest(%(keys)b::bytea[], %(values)b::bytea[], %(keeps)b::float8[]) AS g (key, value, keep) "
)
# In the order of keys, as all that changes several notes, so that two such calls wait for each other in one direction only.
_WRITE = (
    f"INSERT INTO @.notes AS n (space, key, value, until) {_GIVEN} ORDER BY g.key "
    "ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, until = excluded.until"
)
_ADD = f"{_WRITE} WHERE n.until <= {NOW} RETURNING key"
_THIS = "space = %(space)b::bytea AND key = %(key)b::bytea"


class PostgresBoard:
    """See the contract."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, space: str, keys: Sequence[str]) -> list[bytes | None]:
        sql = (
            "SELECT n.key, n.value FROM unnest(%(keys)b::bytea[]) AS g (key) CROSS JOIN LATERAL "
            f"(SELECT key, value FROM @.notes WHERE space = %(space)b::bytea AND key = g.key AND {_LASTING} OFFSET 0) AS n"
        )
        found = dict(self._store.call(sql, space=raw(space), keys=[raw(key) for key in dict.fromkeys(keys)]))
        return [found.get(raw(key)) for key in keys]

    def notes(self, space: str, *, after: str = "", before: str | None = None, limit: int = 1000) -> list[tuple[str, bytes]]:
        end = "" if before is None else "AND key < %(before)b::bytea"
        rows = self._store.call(
            f"SELECT key, value FROM @.notes WHERE space = %(space)b::bytea AND key > %(after)b::bytea {end} AND {_LASTING} "
            "ORDER BY space, key LIMIT %(limit)s",
            space=raw(space),
            after=raw(after),
            before=raw(before or ""),
            limit=max(0, limit),
        )
        return [(name_of(key), value) for key, value in rows]

    def write(self, space: str, notes: Sequence[Note]) -> None:
        _check(space, notes)
        last = {note.key: note for note in notes}
        kept = [note for note in last.values() if note.value is not None]
        gone = [raw(note.key) for note in last.values() if note.value is None]

        def writing(tx: Transaction) -> None:
            tx.run(
                "SELECT 1 FROM @.notes WHERE space = %(space)b::bytea AND key = ANY (%(keys)b::bytea[]) "
                "ORDER BY space, key FOR UPDATE",
                space=raw(space),
                keys=sorted(map(raw, last)),
            )
            tx.run(
                "DELETE FROM @.notes WHERE space = %(space)b::bytea AND key = ANY (%(keys)b::bytea[])",
                space=raw(space),
                keys=gone,
            )
            tx.run(_WRITE, **_values(space, kept))

        if gone:
            self._store.write(writing)
        elif kept:
            self._store.use(lambda link: self._store.run(link, _WRITE, _values(space, kept)).rowcount)

    def add(self, space: str, notes: Sequence[Note]) -> list[bool]:
        _check(space, notes)
        first: dict[str, int] = {}
        for at, note in enumerate(notes):
            first.setdefault(note.key, at)
        rows = self._store.call(_ADD, **_values(space, [notes[at] for at in first.values()])) if notes else []
        added = {name_of(key) for (key,) in rows}
        return [note.key in added and first[note.key] == at for at, note in enumerate(notes)]

    def swap(self, space: str, note: Note, *, old: bytes | None) -> bool:
        _check(space, [note])
        values = {"space": raw(space), "key": raw(note.key), "value": note.value, "old": old, "keep": note.keep}
        if old is None:
            if note.value is None:
                return self.read(space, [note.key]) == [None]
            return self.add(space, [note])[0]
        if note.value is None:
            sql = f"DELETE FROM @.notes WHERE {_THIS} AND value = %(old)b::bytea AND {_LASTING} RETURNING 1"
        else:
            sql = (
                f"UPDATE @.notes SET value = %(value)b::bytea, until = {NOW} + %(keep)s::float8 "
                f"WHERE {_THIS} AND value = %(old)b::bytea AND {_LASTING} RETURNING 1"
            )
        return bool(self._store.call(sql, **values))


def prune(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` notes whose time is over; returns how many."""
    return int(
        tx.run(
            "DELETE FROM @.notes WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.notes WHERE until <= %(at)s "
            "ORDER BY until LIMIT %(limit)s FOR UPDATE SKIP LOCKED))",
            at=tx.now,
            limit=limit,
        ).rowcount
    )


def _check(space: str, notes: Sequence[Note]) -> None:
    for note in notes:
        if note.value is not None and len(note.value) > NOTE_LIMIT:
            raise TooLarge(f"note {note.key!r} of {space!r} has {len(note.value):,} bytes, the limit is {NOTE_LIMIT:,}")


def _values(space: str, notes: Sequence[Note]) -> dict[str, Any]:
    return {
        "space": raw(space),
        "keys": [raw(note.key) for note in notes],
        "values": [note.value for note in notes],
        "keeps": [None if note.keep is None else float(note.keep) for note in notes],
    }
