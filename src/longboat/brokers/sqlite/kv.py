"""SqliteKV: entries in a table."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.sqlite.store import Store, Transaction
from longboat.contract.base_kv import check_entries
from longboat.contract.kv import Entry

_WRITE = "INSERT OR REPLACE INTO longboat_entries VALUES (?, ?, ?, ?)"
_CURRENT = "(until IS NULL OR until > ?)"
_READ = f"SELECT value FROM longboat_entries WHERE namespace = ? AND key = ? AND {_CURRENT}"


class SqliteKV:
    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        now = self._store.clock.now()
        with self._store.read() as db:
            rows = [db.execute(_READ, (namespace, key, now)).fetchone() for key in keys]
        return [None if row is None else row[0] for row in rows]

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        # SQLite compares text as bytes of UTF-8, whose order is that of the code points.
        sql = f"SELECT key, value FROM longboat_entries WHERE namespace = ? AND key > ? AND {_CURRENT}"
        values: list[object] = [namespace, after, self._store.clock.now()]
        if before is not None:
            sql += " AND key < ?"
            values.append(before)
        with self._store.read() as db:
            return db.execute(f"{sql} ORDER BY key LIMIT ?", (*values, limit)).fetchall()

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        check_entries(namespace, entries)
        if entries:
            with self._store.write() as tx:
                for entry in entries:
                    _put(tx, namespace, entry)

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        check_entries(namespace, entries)
        added = []
        with self._store.write() as tx:
            for entry in entries:
                added.append(value_of(tx, namespace, entry.key) is None)
                if added[-1]:
                    _put(tx, namespace, entry)
        return added

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        check_entries(namespace, [entry])
        with self._store.write() as tx:
            if value_of(tx, namespace, entry.key) != old:
                return False
            _put(tx, namespace, entry)
            return True


def prune_entries(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` entries whose time is over; returns how many."""
    over = "SELECT namespace, key FROM longboat_entries WHERE until <= ? LIMIT ?"
    return tx.run(f"DELETE FROM longboat_entries WHERE (namespace, key) IN ({over})", (tx.now, limit)).rowcount


def value_of(tx: Transaction, namespace: str, key: str) -> bytes | None:
    row = tx.run(_READ, (namespace, key, tx.now)).fetchone()
    return None if row is None else row[0]


def _put(tx: Transaction, namespace: str, entry: Entry) -> None:
    if entry.value is None:
        tx.run("DELETE FROM longboat_entries WHERE namespace = ? AND key = ?", (namespace, entry.key))
    else:
        until = None if entry.keep is None else tx.now + entry.keep
        tx.run(_WRITE, (namespace, entry.key, entry.value, until))
