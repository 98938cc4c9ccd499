"""OutboxTable: jobs that are stored in a database and still have to be brought to the broker (relay.py does).

A spool is such a table in a file of its own. All SQL here is what every database with a DB-API driver understands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from longboat.contract.caller import Caller
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Job, new_id
from longboat.core.portions import fitting
from longboat.core.views import job_or_none
from longboat.errors import ConfigError
from longboat.tasks.flow import Ends
from longboat.tasks.limits import UniqueKey

Connect = Callable[[], Any]
"""Opens a connection of a DB-API driver: `engine.raw_connection` of SQLAlchemy, `lambda: sqlite3.connect("shop.db")`."""

TABLE = "longboat_outbox"
LATE = "the broker was not reached before its deadline"
TOGETHER = 500
"""Ids in one statement, at most."""

_COLUMNS = (
    "place {serial}, id VARCHAR(255) NOT NULL, message {blob} NOT NULL, extra {blob}, at {real} NOT NULL, until {real}, "
    "batch VARCHAR(100), taken {real}, refused VARCHAR(1000)"
)
_TYPES = {
    "sqlite": {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "blob": "BLOB", "real": "REAL"},
    "postgresql": {"serial": "BIGSERIAL PRIMARY KEY", "blob": "BYTEA", "real": "DOUBLE PRECISION"},
    "mysql": {"serial": "BIGINT AUTO_INCREMENT PRIMARY KEY", "blob": "LONGBLOB", "real": "DOUBLE PRECISION"},
}
_VENDORS = {"pymysql": "mysql", "MySQLdb": "mysql", "mariadb": "mysql"}


class Extra(msgspec.Struct, array_like=True):
    """What is known of the jobs of one call beside themselves, if there is anything."""

    keys: dict[str, UniqueKey] = {}
    flow: str = ""
    ends: Ends = ""


class Row(msgspec.Struct):
    """A job in the table."""

    place: int
    id: str
    message: bytes
    extra: bytes | None
    at: float
    """Wall-clock time when it was stored."""
    until: float | None
    """Wall-clock time when it is too late to deliver it."""
    refused: str | None
    """Why it will not be delivered."""

    def job(self) -> Job | None:
        """As it is to be put now; None for a message that cannot be read."""
        job = job_or_none(self.message)
        if job is not None and not (job.constraints and job.constraints.after):
            age = max(0.0, SYSTEM.now() - self.at)
            job.delay = max(0.0, job.delay - age)
            if job.expires is not None:
                job.expires = max(0.001, job.expires - age)
        return job


_ROW = "place, id, message, extra, at, until, refused"


def ddl(vendor: str) -> list[str]:
    """The statements that make the table, for "sqlite", "postgresql" or "mysql"."""
    types = _TYPES.get(_VENDORS.get(vendor, vendor))
    if types is None:
        raise ConfigError(f"outbox: there is no layout for a {vendor} database, only for {', '.join(_TYPES)}")
    columns = _COLUMNS.format(**types)
    exists = "" if types is _TYPES["mysql"] else "IF NOT EXISTS "
    return [
        f"CREATE TABLE IF NOT EXISTS {TABLE} ({columns})",
        f"CREATE INDEX {exists}{TABLE}_id ON {TABLE} (id)",
        f"CREATE INDEX {exists}{TABLE}_batch ON {TABLE} (batch, place)",
    ]


class OutboxTable:
    """The table, as a process uses it beside what its callers do in their transactions: over one connection of its own."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._own: Any = None

    @contextlib.contextmanager
    def connection(self) -> Iterator[Caller]:
        """The relay's own, for one thread at a time. What is done is committed at the end."""
        if self._own is None:
            self._own = self._connect()
        try:
            yield Caller(self._own)
            self._own.commit()
        except BaseException:
            self.close()  # the next call opens another
            raise

    @contextlib.contextmanager
    def _another(self) -> Iterator[Caller]:
        """For a look, from any thread."""
        with contextlib.closing(self._connect()) as connection:
            yield Caller(connection)
            connection.rollback()  # nothing; but pools complain of what comes back within a transaction

    def close(self) -> None:
        own, self._own = self._own, None
        with contextlib.suppress(Exception):  # it is broken, or another thread's
            if own is not None:
                own.close()

    def create(self) -> None:
        """Make the table, unless it is there."""
        with self.connection() as at:
            if not _is_there(at):
                for statement in ddl(at.vendor):
                    at.execute(statement)

    def claim(self, batch: str, limit: int, taken_before: float) -> str:
        """Of jobs that nobody has taken, up to `limit` become this batch, or fewer if they are big (core/portions.py).

        Before that come batches whose relay has died.

        Returns the batch to deliver; empty if there is none. `taken_before`: wall-clock time.
        """
        with self.connection() as at:
            left = f"SELECT batch FROM {TABLE} WHERE taken < ? AND refused IS NULL ORDER BY place"
            old = _run(at, left, taken_before).fetchone()
            self._own.commit()
            if old is not None:
                taking = f"UPDATE {TABLE} SET taken = ? WHERE batch = ? AND taken < ?"
                return str(old[0]) if _run(at, taking, SYSTEM.now(), old[0], taken_before).rowcount else ""
            free = f"SELECT place, length(message) FROM {TABLE} WHERE batch IS NULL AND refused IS NULL ORDER BY place"
            found = _run(at, free).fetchmany(limit)
            places = [int(place) for place, _ in found[: fitting([int(size) for _, size in found])]]
            self._own.commit()
            if not places:
                return ""
            marks = ", ".join("?" * len(places))
            taking = f"UPDATE {TABLE} SET batch = ?, taken = ? WHERE batch IS NULL AND place IN ({marks})"
            return batch if _run(at, taking, batch, SYSTEM.now(), *places).rowcount else ""

    def rows(self, batch: str) -> list[Row]:
        with self.connection() as at:
            return _rows(at, f"SELECT {_ROW} FROM {TABLE} WHERE batch = ? AND refused IS NULL ORDER BY place", batch)

    def keep(self, batch: str, taken: float) -> None:
        """The relay goes on with the batch from this wall-clock time."""
        with self.connection() as at:
            _run(at, f"UPDATE {TABLE} SET taken = ? WHERE batch = ?", taken, batch)

    def delivered(self, batch: str) -> None:
        with self.connection() as at:
            _run(at, f"DELETE FROM {TABLE} WHERE batch = ? AND refused IS NULL", batch)

    def refuse(self, rows: Sequence[Row], why: str) -> None:
        """These are not delivered any more; they stay for a while, for people to see."""
        with self.connection() as at:
            for row in rows:
                _run(at, f"UPDATE {TABLE} SET refused = ? WHERE place = ?", why[:1000], row.place)

    def split(self, rows: Sequence[Row]) -> None:
        """Each becomes a batch of its own."""
        with self.connection() as at:
            for row in rows:
                _run(at, f"UPDATE {TABLE} SET batch = ?, taken = 0 WHERE place = ?", f"{new_id()}:1", row.place)

    def expire(self, now: float) -> None:
        """Of jobs that nobody has taken, those whose deadline is over will not be delivered."""
        with self.connection() as at:
            late = f"UPDATE {TABLE} SET refused = ? WHERE batch IS NULL AND refused IS NULL AND until < ?"
            _run(at, late, LATE, now)

    def prune(self, before: float) -> None:
        """Forget those that were refused and stored before this wall-clock time."""
        with self.connection() as at:
            _run(at, f"DELETE FROM {TABLE} WHERE refused IS NOT NULL AND at < ?", before)

    def find(self, ids: Sequence[str]) -> dict[str, Row]:
        """Those of these jobs that are here, by id."""
        found: dict[str, Row] = {}
        with self._another() as at:
            for start in range(0, len(ids), TOGETHER):
                some = ids[start : start + TOGETHER]
                marks = ", ".join("?" * len(some))
                found |= {row.id: row for row in _rows(at, f"SELECT {_ROW} FROM {TABLE} WHERE id IN ({marks})", *some)}
        return found

    def summary(self) -> tuple[int, float | None, int]:
        """(jobs that are to be delivered, since when the oldest of them is here, jobs that are not delivered any more)"""
        with self._another() as at:
            count, oldest = _run(at, f"SELECT count(*), min(at) FROM {TABLE} WHERE refused IS NULL").fetchone()
            refused = _run(at, f"SELECT count(*) FROM {TABLE} WHERE refused IS NOT NULL").fetchone()[0]
        return int(count), oldest, int(refused)


def add(
    at: Caller,
    jobs: Sequence[Job],
    extra: Extra | None = None,
    *,
    batch: str | None = None,
    until: float | None = None,
) -> None:
    """Store these jobs in the table, in the caller's transaction. Those with an `extra` are delivered together."""
    more = None if extra is None else msgspec.msgpack.encode(extra)
    if more is not None and batch is None:
        batch = f"{new_id()}:1"
    now = SYSTEM.now()
    into = f"INSERT INTO {TABLE} (id, message, extra, at, until, batch, taken) VALUES (?, ?, ?, ?, ?, ?, ?)"
    for job in jobs:
        message = codec.encode_job(job)
        _run(at, into, job.id, message, more, now, until, batch, None if batch is None else 0.0)
        more = None


def _is_there(at: Caller) -> bool:
    """Without an error, which would end the transaction on some databases."""
    if at.vendor == "sqlite":
        return bool(_run(at, "SELECT count(*) FROM sqlite_master WHERE name = ?", TABLE).fetchone()[0])
    if at.vendor == "postgresql":
        return _run(at, "SELECT to_regclass(?)", TABLE).fetchone()[0] is not None
    schema = "SELECT count(*) FROM information_schema.tables WHERE table_name = ? AND table_schema = database()"
    return bool(_run(at, schema, TABLE).fetchone()[0])


def _rows(at: Caller, sql: str, *values: Any) -> list[Row]:
    return [
        Row(place, job_id, bytes(message), None if extra is None else bytes(extra), stored, until, refused)
        for place, job_id, message, extra, stored, until, refused in _run(at, sql, *values).fetchall()
    ]


def _run(at: Caller, sql: str, *values: Any) -> Any:
    """Run a statement, whose parameters are written as question marks here."""
    if at.style == "qmark":
        return at.execute(sql, values)
    first, *others = sql.split("?")
    if at.style in ("format", "pyformat"):
        return at.execute(first + "".join("%s" + other for other in others), values)
    mark = {"numeric": ":", "numeric_dollar": "$", "named": ":p"}[at.style]
    numbered = first + "".join(f"{mark}{n}{other}" for n, other in enumerate(others, 1))
    return at.execute(numbered, {f"p{n}": value for n, value in enumerate(values, 1)} if at.style == "named" else values)
