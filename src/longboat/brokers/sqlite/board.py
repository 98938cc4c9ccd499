"""SqliteBoard: notes in a table."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.sqlite.store import Store, Transaction
from longboat.contract.kv import NOTE_LIMIT, Note
from longboat.errors import TooLarge

_WRITE = "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)"
_LIVING = "(until IS NULL OR until > ?)"


class SqliteBoard:
    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, space: str, keys: Sequence[str]) -> list[bytes | None]:
        now = self._store.clock.now()
        sql = f"SELECT value FROM notes WHERE space = ? AND key = ? AND {_LIVING}"
        with self._store.read() as db:
            rows = [db.execute(sql, (space, key, now)).fetchone() for key in keys]
        return [None if row is None else row[0] for row in rows]

    def notes(self, space: str, *, after: str = "", before: str | None = None, limit: int = 1000) -> list[tuple[str, bytes]]:
        # Text is compared as bytes of UTF-8, whose order is that of the code points.
        sql = f"SELECT key, value FROM notes WHERE space = ? AND key > ? AND {_LIVING}"
        values: list[object] = [space, after, self._store.clock.now()]
        if before is not None:
            sql += " AND key < ?"
            values.append(before)
        with self._store.read() as db:
            return db.execute(f"{sql} ORDER BY key LIMIT ?", (*values, limit)).fetchall()

    def write(self, space: str, notes: Sequence[Note]) -> None:
        _check_sizes(space, notes)
        if notes:
            with self._store.write() as tx:
                for note in notes:
                    _put(tx, space, note)

    def add(self, space: str, notes: Sequence[Note]) -> list[bool]:
        _check_sizes(space, notes)
        added = []
        with self._store.write() as tx:
            for note in notes:
                added.append(_value(tx, space, note.key) is None)
                if added[-1]:
                    _put(tx, space, note)
        return added

    def swap(self, space: str, note: Note, *, old: bytes | None) -> bool:
        _check_sizes(space, [note])
        with self._store.write() as tx:
            if _value(tx, space, note.key) != old:
                return False
            _put(tx, space, note)
            return True


def forget_notes(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` notes whose time is over; returns how many."""
    over = "SELECT space, key FROM notes WHERE until <= ? LIMIT ?"
    return tx.run(f"DELETE FROM notes WHERE (space, key) IN ({over})", (tx.now, limit)).rowcount


def _value(tx: Transaction, space: str, key: str) -> bytes | None:
    row = tx.run(f"SELECT value FROM notes WHERE space = ? AND key = ? AND {_LIVING}", (space, key, tx.now)).fetchone()
    return None if row is None else row[0]


def _put(tx: Transaction, space: str, note: Note) -> None:
    if note.value is None:
        tx.run("DELETE FROM notes WHERE space = ? AND key = ?", (space, note.key))
    else:
        until = None if note.keep is None else tx.now + note.keep
        tx.run(_WRITE, (space, note.key, note.value, until))


def _check_sizes(space: str, notes: Sequence[Note]) -> None:
    for note in notes:
        if note.value is not None and len(note.value) > NOTE_LIMIT:
            raise TooLarge(f"note {note.key!r} of {space!r} has {len(note.value):,} bytes, the limit is {NOTE_LIMIT:,}")
