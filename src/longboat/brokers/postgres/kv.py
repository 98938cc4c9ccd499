"""PostgresKV: entries beside the jobs, rows of `entries`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.store import NOW, Store, Transaction
from longboat.contract.base_kv import check_entries
from longboat.contract.kv import Entry

LASTING = f"(until IS NULL OR until > {NOW})"
"""SQL: the entry is there."""
_GIVEN = (
    f"SELECT %(namespace)b::bytea, g.key, g.value, {NOW} + g.keep "
    "FROM unnest(%(keys)b::bytea[], %(values)b::bytea[], %(keeps)b::float8[]) AS g (key, value, keep) "
)
# In the order of keys, as in every change of several entries, so that two of them wait for each other in one direction only.
_WRITE = (
    f"INSERT INTO @.entries AS n (namespace, key, value, until) {_GIVEN} ORDER BY g.key "
    "ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, until = excluded.until"
)
_ADD = f"{_WRITE} WHERE n.until <= {NOW} RETURNING key"
_THIS = "namespace = %(namespace)b::bytea AND key = %(key)b::bytea"


class PostgresKV:
    """See the contract."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        sql = (
            "SELECT n.key, n.value FROM unnest(%(keys)b::bytea[]) AS g (key) CROSS JOIN LATERAL "
            f"(SELECT key, value FROM @.entries WHERE namespace = %(namespace)b::bytea AND key = g.key AND {LASTING} "
            "OFFSET 0) AS n"
        )
        found = dict(self._store.call(sql, namespace=raw(namespace), keys=[raw(key) for key in dict.fromkeys(keys)]))
        return [found.get(raw(key)) for key in keys]

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        end = "" if before is None else "AND key < %(before)b::bytea"
        rows = self._store.call(
            f"SELECT key, value FROM @.entries WHERE namespace = %(namespace)b::bytea AND key > %(after)b::bytea {end} "
            f"AND {LASTING} ORDER BY namespace, key LIMIT %(limit)s",
            namespace=raw(namespace),
            after=raw(after),
            before=raw(before or ""),
            limit=max(0, limit),
        )
        return [(name_of(key), value) for key, value in rows]

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        check_entries(namespace, entries)
        last = {entry.key: entry for entry in entries}
        kept = [entry for entry in last.values() if entry.value is not None]
        gone = [raw(entry.key) for entry in last.values() if entry.value is None]

        def writing(tx: Transaction) -> None:
            tx.run(
                "SELECT 1 FROM @.entries WHERE namespace = %(namespace)b::bytea AND key = ANY (%(keys)b::bytea[]) "
                "ORDER BY namespace, key FOR UPDATE",
                namespace=raw(namespace),
                keys=sorted(map(raw, last)),
            )
            tx.run(
                "DELETE FROM @.entries WHERE namespace = %(namespace)b::bytea AND key = ANY (%(keys)b::bytea[])",
                namespace=raw(namespace),
                keys=gone,
            )
            tx.run(_WRITE, **_values(namespace, kept))

        if gone:
            self._store.write(writing)
        elif kept:
            self._store.use(lambda conn: self._store.run(conn, _WRITE, _values(namespace, kept)).rowcount)

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        check_entries(namespace, entries)
        first: dict[str, int] = {}
        for at, entry in enumerate(entries):
            first.setdefault(entry.key, at)
        rows = self._store.call(_ADD, **_values(namespace, [entries[at] for at in first.values()])) if entries else []
        added = {name_of(key) for (key,) in rows}
        return [entry.key in added and first[entry.key] == at for at, entry in enumerate(entries)]

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        check_entries(namespace, [entry])
        values = {"namespace": raw(namespace), "key": raw(entry.key), "value": entry.value, "old": old, "keep": entry.keep}
        if old is None:
            if entry.value is None:
                return self.read(namespace, [entry.key]) == [None]
            return self.put_if_absent(namespace, [entry])[0]
        if entry.value is None:
            sql = f"DELETE FROM @.entries WHERE {_THIS} AND value = %(old)b::bytea AND {LASTING} RETURNING 1"
        else:
            sql = (
                f"UPDATE @.entries SET value = %(value)b::bytea, until = {NOW} + %(keep)s::float8 "
                f"WHERE {_THIS} AND value = %(old)b::bytea AND {LASTING} RETURNING 1"
            )
        return bool(self._store.call(sql, **values))


def _values(namespace: str, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "namespace": raw(namespace),
        "keys": [raw(entry.key) for entry in entries],
        "values": [entry.value for entry in entries],
        "keeps": [None if entry.keep is None else float(entry.keep) for entry in entries],
    }
