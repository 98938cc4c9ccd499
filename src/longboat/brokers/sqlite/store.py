"""The file: connections, one write transaction at a time, reads beside it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

from longboat.brokers.sqlite import layout
from longboat.brokers.sqlite.beside import LOCK
from longboat.brokers.sqlite.faults import cannot_open, translated
from longboat.brokers.sqlite.file_lock import FileLock
from longboat.brokers.sqlite.forks import VISITS
from longboat.contract.base_forks import leave_alone, remake_after_fork
from longboat.core.clock import Clock
from longboat.core.job import State
from longboat.errors import BrokerFull, BrokerUnavailable

Synchronous = Literal["full", "normal"]

PAGE_SIZE = 2048
"""Bytes, of new files. With 4096 an enqueue writes 1.7 times as much; with 1024 most messages need pages of their own."""
_LOG = 4 << 20
"""Bytes of the write-ahead log at which SQLite begins to empty it."""


class Transaction:
    """What is done within one write: statements, and what they change of the counts."""

    __slots__ = ("_counts", "db", "now", "run")

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self.db = db
        self.run = db.execute
        self.now = now
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)

    def count(self, queue: str, state: State, change: int) -> None:
        self._counts[queue, state.value] += change

    def flush(self) -> None:
        for (queue, state), change in self._counts.items():
            if change:
                self.run(
                    "INSERT INTO longboat_counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                    (queue, state, change),
                )


class Store:
    """One database file as seen by this process. Opened at the first use; again in a forked child."""

    def __init__(self, path: str, synchronous: Synchronous, clock: Clock, timeout: float) -> None:
        self.path = os.path.abspath(path)
        self.clock = clock
        self._synchronous = synchronous
        self._timeout = timeout
        self._file_lock = FileLock(f"{self.path}{LOCK}", timeout)
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._inode = self._writer_inode = -1
        self._checked = False
        self._was_full = False
        self._syncs = True
        """Whether the writer's commits wait for the disk at present, in a store that is to."""
        self._closed = False
        remake_after_fork(self)

    def prepare(self) -> None:
        """Make the tables, and turn WAL on, unless this process knows that it was done."""
        if not self._checked:
            with self.read():
                return

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Transaction]:
        """A transaction that is durable when the block ends, and undone when it raises. Never within a `read`.

        One that is not `durable` survives killed processes, but a power cut only if a durable one has followed. That is
        enough for claims and heartbeats: a power cut ends their workers as well.
        """
        try:
            self._file_lock.enter()
            try:
                with VISITS:
                    db = self._begin(durable=durable)
                    try:
                        transaction = Transaction(db, self.clock.now())
                        yield transaction
                        transaction.flush()
                        db.execute("COMMIT")
                    except BaseException:
                        if db.in_transaction:
                            with contextlib.suppress(sqlite3.Error):
                                db.execute("ROLLBACK")
                        raise
            finally:
                self._file_lock.leave()
        except sqlite3.Error as error:
            told = translated(error, self.path)
            self._was_full = self._was_full or isinstance(told, BrokerFull)
            raise told from error

    def _begin(self, *, durable: bool) -> sqlite3.Connection:
        self._leave_removed()
        db = self._writer_of_this_file()
        if self._was_full:
            self._empty_log(db)
        if self._synchronous == "full" and durable != self._syncs:
            db.execute(f"PRAGMA synchronous = {'full' if durable else 'normal'}")
            self._syncs = durable
        db.execute("BEGIN IMMEDIATE")
        return db

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for single SELECTs; begin a transaction on it where several must see the same state."""
        try:
            self._leave_removed()
            with self._lock:
                db = self._readers.pop() if self._readers else None
            db = db or self._reader()
            inode = self._inode
            with VISITS:
                try:
                    yield db
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    with self._lock:
                        if not self._closed and inode == self._inode:
                            self._readers.append(db)
                            db = None
                    if db is not None:
                        db.close()
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            readers, self._readers = self._readers, []
            writer, self._writer = self._writer, None
        with VISITS:
            for db in readers:
                db.close()
            if writer is not None:
                writer.close()
        self._file_lock.close()

    def _empty_log(self, db: sqlite3.Connection) -> None:
        """The disk was full before the log was long enough for SQLite to empty it: it would take all room that comes back.

        Only where its pages fit into the file: to empty it makes the file longer, and a write needs room as well.
        """
        pages, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
        disk = os.statvfs(os.path.dirname(self.path))
        if pages * size - os.path.getsize(self.path) <= disk.f_bavail * disk.f_frsize:
            _, written, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._was_full = moved < written

    def _writer_of_this_file(self) -> sqlite3.Connection:
        if self._writer is not None and self._writer_inode != self._inode:
            self._writer.close()
            self._writer = None
        if self._writer is None:
            self._writer = self._open()
            self._syncs = True
            self._writer_inode = self._inode
        return self._writer

    def _leave_removed(self) -> None:
        """Let go of a file that was removed or replaced: nobody would find what is put into it."""
        if self._inode < 0 or self._inode == _inode(self.path):
            return
        with self._lock:
            readers, self._readers = self._readers, []
            self._inode = -1
            self._checked = False
        for db in readers:
            db.close()

    def _reader(self) -> sqlite3.Connection:
        if self._checked:
            with VISITS:
                return self._open()
        self._file_lock.enter()  # one process makes the file and turns its WAL on, which SQLite does not wait for
        try:
            with VISITS:
                return self._open()
        finally:
            self._file_lock.leave()

    def _open(self) -> sqlite3.Connection:
        """Called with the lock held, unless the file was checked before."""
        if self._closed:
            raise BrokerUnavailable(f"{self.path}: this broker was closed")
        if self._checked:
            return self._connect()
        _create(self.path)
        db = self._connect()
        try:
            if not layout.is_current(db, self.path):
                layout.create(db, self.path)
        except BaseException:
            db.close()
            raise
        self._inode = _inode(self.path)
        self._checked = True
        return db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        db.text_factory = _text
        try:
            db.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # in a file that has no page yet
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            db.execute("PRAGMA secure_delete = OFF")
            db.execute("PRAGMA cache_size = -16000")
            db.execute("PRAGMA journal_size_limit = 67108864")
            (size,) = db.execute("PRAGMA page_size").fetchone()
            db.execute(f"PRAGMA wal_autocheckpoint = {_LOG // size}")
        except BaseException:
            db.close()
            raise
        return db

    def after_fork(self) -> None:
        """In the child: to close the parent's connections would release its locks."""
        leave_alone(self._writer, *self._readers)
        self._writer = None
        self._readers = []
        self._lock = threading.Lock()
        self._file_lock.after_fork()


def _create(path: str) -> None:
    """Readable by its owner only; SQLite gives the files beside it the same mode."""
    # Not for a file that exists: closing it again would release the locks of this process's connections.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise cannot_open(path, error) from error


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return -1


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")  # somebody wrote it by hand: it can be looked at, at least
