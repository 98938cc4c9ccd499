"""SQLite's errors as Longboat's: one place that says what a caller can do about each."""

from __future__ import annotations

import errno
import os
import sqlite3

from longboat.errors import BrokerError, BrokerFull, BrokerMisconfigured, BrokerUnavailable

_FULL, _IOERR = sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR
_LATER = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN)
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_WRONG = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)
_SPARE = 1 << 16
"""Free bytes under which a failed write means that the disk is full, whatever SQLite calls it."""


def translated(error: sqlite3.Error, path: str) -> BrokerError:
    """The error to raise instead."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == _FULL or (code == _IOERR and _is_full(path)):
        return BrokerFull(f"no room left on the disk of {path}: nothing was stored. Make room, then try again.")
    if code in _BROKEN:
        return BrokerError(
            f"{path} is damaged or no SQLite database ({error}). Move it and its -wal and -shm files aside and start "
            f"with a new one; `sqlite3 {path} .recover` saves what can be read of a damaged one."
        )
    if code in (*_LATER, _IOERR):
        return BrokerUnavailable(f"{path}: {error}")
    return BrokerError(f"{path}: {error}")


def cannot_open(path: str, error: OSError) -> BrokerUnavailable:
    """The error to raise for a file that cannot be made or opened."""
    kind = BrokerMisconfigured if error.errno in _WRONG else BrokerUnavailable
    return kind(f"cannot open {path}: {error.strerror}")


def _is_full(path: str) -> bool:
    try:
        disk = os.statvfs(os.path.dirname(path) or ".")
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _SPARE
