"""SQL as the store means it, with its schema and its time in it; and what is done within one write."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from longboat.brokers.postgres import migration
from longboat.brokers.postgres.guest import Guest
from longboat.brokers.postgres.link import TimedConnection
from longboat.core.clock import Clock
from longboat.core.job import State

Values = Mapping[str, Any]
Connection = TimedConnection | Guest

NOW = "coalesce(%(now)s::float8, extract(epoch FROM clock_timestamp())::float8)"
"""SQL: the time; the server's own unless a clock was given."""


class Statements:
    """Statements of one schema: "@." stands for it."""

    def __init__(self, schema: str, clock: Clock | None) -> None:
        self.clock = clock
        self.channel = f"longboat_{zlib.crc32(schema.encode()):08x}"
        """Unlike those of other stores in the database."""
        self._prefix = f"{migration.quoted(schema)}."
        self._texts: dict[str, bytes] = {}

    def text(self, sql: str) -> bytes:
        """The statement with this store's schema in it."""
        text = self._texts.get(sql)
        if text is None:
            text = self._texts[sql] = sql.replace("@.", self._prefix).encode()
        return text

    def run(self, link: Connection, sql: str, values: Values) -> Any:
        """The cursor, its rows yet to be fetched. Errors as of psycopg."""
        now = None if self.clock is None else self.clock.now()
        text, values = self.text(sql), {**values, "now": now}
        return link.execute(text, values) if isinstance(link, Guest) else link.cursor(binary=True).execute(text, values)


class Transaction:
    """What is done within one write: statements, and how the counts change by them."""

    def __init__(self, statements: Statements, link: Connection) -> None:
        self._statements = statements
        self.link = link
        self.channel = statements.channel
        self._counts: defaultdict[tuple[bytes, str], int] = defaultdict(int)
        self._told: set[str] = set()
        self.freed: dict[bytes, int] = {}
        """Keys of limits that others may be let in to at the end, with how many leases of each have ended (gates.py)."""
        self.now = float(self.run(f"SELECT {NOW}").fetchone()[0])

    def run(self, sql: str, **values: Any) -> Any:
        return self._statements.run(self.link, sql, values)

    def count(self, queue: bytes, state: State, change: int) -> None:
        self._counts[queue, state.value] += change

    def tell(self, payload: str) -> None:
        """Notify those who wait, when this commits."""
        self._told.add(payload)

    def flush(self) -> None:
        changed = {place: n for place, n in self._counts.items() if n}
        if changed:
            self.run(
                "INSERT INTO @.counts SELECT * FROM unnest(%(queues)b::bytea[], %(states)s::text[], %(ns)s::bigint[])",
                queues=[queue for queue, _ in changed],
                states=[state for _, state in changed],
                ns=list(changed.values()),
            )
        for payload in sorted(self._told):
            self.run("SELECT pg_notify(%(channel)s, %(payload)s)", channel=self.channel, payload=payload)
