"""Spool: where jobs go while the broker is away: an outbox table in a file of this machine, with a relay in this process.

Any number of processes may share the file. Each that opens it delivers what is there, whoever has put it there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from longboat.client.outbox_table import Extra, OutboxTable, add
from longboat.client.relay import Relay
from longboat.connect import settled
from longboat.contract.broker import Broker, Token
from longboat.contract.caller import Caller
from longboat.core.clock import SYSTEM
from longboat.core.job import Job
from longboat.core.urls import Url, duration, refuse_others, shown
from longboat.errors import BrokerError, BrokerUnavailable, ConfigError

log = logging.getLogger("longboat.spool")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two tries to reach the broker."""
LOOK = 5.0
"""Seconds between two looks for what other processes have left behind."""
_BUSY = 5.0
"""Seconds that a call waits for other processes at the file."""
_PAUSE_AT_FILE = 0.002


class SpoolOptions(msgspec.Struct, frozen=True):
    """What a spool's URL says."""

    path: str
    limit: int
    """Jobs, at most."""
    deadline: float
    """Seconds for which a job is kept for the broker."""

    @classmethod
    def of(cls, url: str) -> SpoolOptions:
        """Raises ConfigError."""
        path = unquote(url.partition("://")[2].partition("?")[0])
        if not url.startswith("sqlite:///") or not path.strip("/"):
            raise ConfigError(f"spool: {shown(url)!r} names no file: write sqlite:///spool.db; four slashes for a full path")
        options = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
        deadline = duration(url, options, "deadline", "1h")
        limit = options.pop("limit", "10000")
        refuse_others(url, options)
        if not limit.isdecimal() or int(limit) == 0:
            raise ConfigError(f"spool: limit={limit!r} must be a number of jobs")
        return cls(os.path.abspath(path[1:]), int(limit), deadline)

    def connect(self) -> Any:
        """A connection to the file, which only its owner can read."""
        import sqlite3

        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            _turn_wal_on(db)
            db.execute("PRAGMA synchronous = full")
        except BaseException:
            db.close()
            raise
        return db

    def table(self) -> OutboxTable:
        return OutboxTable(self.connect)


def spool_url(spool: str | None) -> Url | None:
    """The URL with its full path; None for none. Raises ConfigError for one that makes no sense."""
    if spool is None:
        return None
    url = Url(settled(spool))
    SpoolOptions.of(url)
    return url


class Spool:
    """Safe to use from any thread. A forked child makes its own."""

    def __init__(self, url: str, broker: Broker) -> None:
        self.options = SpoolOptions.of(url)
        self.away = False
        """Whether the broker did not answer, and jobs go here without asking it again."""
        self.table = self.options.table()
        self._relay = Relay(broker, self.options.table())
        self._lock = threading.Lock()
        self._db: Any = None
        self._news = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="longboat-spool", daemon=True)
        self._thread.start()

    def add(
        self, jobs: Sequence[Job], why: BrokerError | None = None, *, token: Token | None = None, extra: Extra | None = None
    ) -> None:
        """Keep these jobs for the broker. Raises BrokerUnavailable where there is no room for them.

        `token`: of a put that may have arrived. They are put with it once more, and so the caller uses its client no more.
        """
        batch = None if token is None else f"{token[0]}:{token[1]}"
        with self._lock:
            try:
                self._add(jobs, batch, extra)
            except BrokerUnavailable:  # no room
                raise
            except OSError as error:
                raise self._unusable(error, why) from error
            except Exception as error:  # SQLite's, which is imported late
                if type(error).__module__ != "sqlite3":
                    raise
                raise self._unusable(error, why) from error
            if not self.away:
                self.away = True
                log.warning("the broker is away, so jobs are kept in %s: %s", self.options.path, why)
        self._news.set()

    @property
    def here(self) -> OutboxTable | None:
        """The table, if there is one."""
        return self.table if os.path.exists(self.options.path) else None

    def close(self) -> None:
        """What is here stays, for who opens the file next."""
        self._closed = True
        self._news.set()
        self._thread.join()
        self._relay.close()
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _add(self, jobs: Sequence[Job], batch: str | None, extra: Extra | None) -> None:
        if self._db is None:
            self.table.create()
            self.table.close()
            self._db = self.options.connect()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            here = self._db.execute("SELECT count(*) FROM longboat_outbox WHERE refused IS NULL").fetchone()[0]
            if here + len(jobs) > self.options.limit:
                raise BrokerUnavailable(
                    f"the broker is away, and the spool {self.options.path} is full: it has {here:,} jobs"
                )
            add(Caller(self._db), jobs, extra, batch=batch, until=SYSTEM.now() + self.options.deadline)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _unusable(self, error: Exception, why: BrokerError | None) -> BrokerUnavailable:
        return BrokerUnavailable(f"the broker is away ({why}), and the spool {self.options.path} cannot be used: {error}")

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed:
            self._news.clear()
            if not os.path.exists(self.options.path):
                self._news.wait(LOOK)
                continue
            try:
                self._relay.expire(SYSTEM.now())
                self._relay.run(SYSTEM.now())
                pause = _FIRST_PAUSE
                self._rest()
            except BrokerError:
                self._nap(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause)
            except Exception:
                log.exception("the spool %s is not relayed for a moment", self.options.path)
                self._nap(_LONGEST_PAUSE)

    def _rest(self) -> None:
        """Until there is something to deliver: here, or of another process that shares the file."""
        with self._lock:
            left = self.table.summary()[0]
            if not left:
                if self.away:
                    log.warning("the broker is back, and has all that was kept in %s", self.options.path)
                self.away = False
        self._news.wait(_FIRST_PAUSE if left else LOOK)

    def _nap(self, seconds: float) -> None:
        """Without being woken by more jobs: the broker is away."""
        until = SYSTEM.monotonic() + seconds
        while not self._closed and (left := until - SYSTEM.monotonic()) > 0:
            threading.Event().wait(min(left, _FIRST_PAUSE))


def _turn_wal_on(db: Any) -> None:
    """SQLite does not wait for another process that does the same to a new file: its busy handler is not asked."""
    import sqlite3

    until = SYSTEM.monotonic() + _BUSY
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or SYSTEM.monotonic() > until:
                raise
        time.sleep(_PAUSE_AT_FILE)
