"""Beside: files next to the database, for those who may write the database and nobody else.

A directory may be open to others, such as /tmp, who could put there what leads a process of ours to another file. So no link
is followed, kinds and owners are checked, and what is made has the permissions of the database: a group that shares that
shares these too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

WAKE, LOCK = "-wake", "-lock"
"""What the names end in, after that of the database."""
_NOT_FOLLOWED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_directory(path: str, *, make: bool = False) -> int:
    """A descriptor of the directory. Raises OSError: PermissionError if somebody else could have put it there."""
    database = path.removesuffix(WAKE)
    if make:
        with contextlib.suppress(FileExistsError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.mkdir(path, 0o700)
            _share(path, database, 0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NOT_FOLLOWED)
    try:
        _check(os.fstat(fd), database, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_file(path: str, database: str, flags: int) -> int:
    """A plain file, which is made if it is missing. Raises OSError: PermissionError if it is somebody else's."""
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | _NOT_FOLLOWED, 0o600)
    except FileExistsError:
        fd = os.open(path, flags | _NOT_FOLLOWED)
    else:
        _share(path, database, 0o600)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise PermissionError(errno.EPERM, "it is no plain file", path)
        _check(found, database, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_bell(directory: int, name: str) -> int:
    """A FIFO in the directory, to ring it. Raises OSError for anything else; ENXIO: nobody waits at it."""
    fd = os.open(name, os.O_WRONLY | _NOT_FOLLOWED, dir_fd=directory)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise PermissionError(errno.EPERM, "it is no FIFO", name)
    return fd


def make_bell(directory: int, name: str, database: str) -> int:
    """A FIFO under its name, open for its owner."""
    os.mkfifo(name, 0o600, dir_fd=directory)
    fd = os.open(name, os.O_RDWR | _NOT_FOLLOWED, dir_fd=directory)
    _share(fd, database, 0o600)
    return fd


def _share(made: str | int, database: str, mode: int) -> None:
    """Give a group that may write the database what its owner has."""
    with contextlib.suppress(OSError):
        found = os.stat(database)
        if found.st_mode & stat.S_IWGRP:
            os.chown(made, -1, found.st_gid)
            os.chmod(made, mode | mode >> 3)


def _check(found: os.stat_result, database: str, path: str) -> None:
    owners, group = {0, os.geteuid()}, -1
    with contextlib.suppress(OSError):
        store = os.stat(database)
        owners.add(store.st_uid)
        if store.st_mode & stat.S_IWGRP:
            group = store.st_gid
    ours = found.st_uid in owners or found.st_gid == group
    open_to_others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != group)
    if not ours or open_to_others:
        raise PermissionError(errno.EPERM, "others could have put it there", path)
