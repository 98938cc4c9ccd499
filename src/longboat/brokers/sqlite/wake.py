"""Waking without polling: each waiter owns a FIFO in a directory beside the database; whoever has news writes a byte.

An empty FIFO means that its owner is waiting and has not been rung: so as many waiters are woken as there are jobs. The
owner empties it before its last look, and writes some bytes itself when it waits no longer. A ring is lost when its receiver
dies; that costs the others half a second, since all waiters also look now and then.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import logging
import os
import select
import termios
import threading
import time
import zlib
from collections.abc import Collection, Sequence

from longboat.brokers.sqlite.beside import WAKE, make_bell, open_bell, open_directory
from longboat.contract.base_forks import remake_after_fork
from longboat.contract.base_poll import new_poll
from longboat.core.seldom import Seldom

log = logging.getLogger("longboat.sqlite")

CONSUMER, LISTENER = "c-", "l-"
LOOK_ANYWAY = 0.5
"""Seconds between a waiter's looks while nothing happens: this heals a ring that was lost."""
_BUSY = b"\0" * 8
"""Written into a bell by an owner that does not wait. One that waits has been rung less often."""
_NEW = "new-"
_EVERY = ".every."
_MARKED = 20
"""Queues that a bell's name has room for."""
_FRESH = 50_000_000
"""Nanoseconds: a directory that changed so recently may change again without a new time stamp."""
_STALE = 3600.0
_told = Seldom(3600.0)


def consumer_bell(consumer: str, queues: Sequence[str]) -> str:
    """The name of a consumer's bell. It says which queues to ring it for."""
    marks = ".".join(queue_mark(queue) for queue in queues) if 0 < len(queues) <= _MARKED else _EVERY.strip(".")
    return f"{CONSUMER}{consumer}.{marks}."


def queue_mark(queue: str) -> str:
    return f"{zlib.crc32(queue.encode(errors='surrogatepass')):08x}"


class Bell:
    """A FIFO that its owner waits on. One thread waits; any thread may ring."""

    def __init__(self, directory: str, name: str) -> None:
        self.name = name
        self._directory = directory
        self._path = os.path.join(directory, name)
        self._waiting = threading.Lock()
        self._closed = False
        self._fd = self._out = -1
        self._named = False
        """Whether others can ring it: not where its directory cannot be used. Then it rings for its own process only."""
        self._poll = new_poll()
        self._open()
        remake_after_fork(self)

    def listen(self) -> None:
        """From here on rings are meant for the owner: it looks once more, then waits."""
        with self._waiting:
            if not self._closed and self._poll.poll(0):  # under eventlet a read of nothing waits
                with contextlib.suppress(BlockingIOError):
                    os.read(self._fd, 65536)

    def wait(self, timeout: float) -> None:
        """Returns when rung since `listen`, or after `timeout` seconds."""
        with self._waiting:
            if self._closed or self._poll.poll(max(0.0, timeout) * 1000):
                return
            if not (self._named and os.path.exists(self._path)):  # somebody removed the directory
                self._let_go()
                self._open()

    def ring(self) -> None:
        """Wake the owner."""
        self._write(b"\0")

    def rest(self) -> None:
        """The owner waits no longer."""
        self._write(_BUSY)

    def _write(self, data: bytes) -> None:
        # A full FIFO was rung often enough; behind a closed one nobody waits.
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._out, data)

    def close(self) -> None:
        self._closed = True
        self.ring()
        with self._waiting:
            if self._named:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
            self._let_go()

    def _let_go(self) -> None:
        mine, self._fd, self._out = {self._fd, self._out} - {-1}, -1, -1
        for fd in mine:
            with contextlib.suppress(OSError):
                os.close(fd)

    def after_fork(self) -> None:
        """In the child: a FIFO that stayed open here would seem to have an owner after the parent's death."""
        self._let_go()
        self._closed = True
        self._waiting = threading.Lock()

    def _open(self) -> None:
        # Opened before it gets its name: without a reader its owner would be taken for dead, and the FIFO removed.
        new = _NEW + self.name
        try:
            directory = open_directory(self._directory, make=True)
            try:
                self._fd = self._out = make_bell(directory, new, self._directory.removesuffix(WAKE))
                os.rename(new, self.name, src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                os.close(directory)
            self._named = True
        except OSError as error:
            self._let_go()
            self._fd, self._out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
            self._named = False
            if _told.count(self._directory):
                log.warning("%s cannot be used, so what waits looks twice a second: %s", self._directory, error)
        self._poll = new_poll()
        self._poll.register(self._fd, select.POLLIN)
        self.rest()


def _pipe() -> tuple[int, int]:
    both = os.pipe()  # not inherited
    for fd in both:
        os.set_blocking(fd, False)
    return both


class Ringer:
    """Rings the bells of others, and removes those of dead owners. Safe to use from several threads."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._fds: dict[str, int] = {}
        self._seen = -1
        remake_after_fork(self)

    def tell(self, *, consumers: bool = False, listeners: bool = False) -> None:
        """Ring all consumers, since jobs may have become ready, or all listeners, since some may have ended."""
        if consumers:
            self.ring(CONSUMER)
        if listeners:
            self.ring(LISTENER)

    def ring(self, prefix: str) -> None:
        """Ring all bells whose names begin so."""
        with self._lock:
            self._refresh()
            for name in [name for name in self._fds if name.startswith(prefix)]:
                self._write(name)

    def ring_some(self, queue: str, n: int) -> None:
        """Ring up to `n` consumers of the queue, of those that wait and have not been rung."""
        with self._lock:
            self._refresh()
            for name in self._consumers([queue]):
                if n <= 0:
                    break
                if _rung(self._fds[name]) == 0:
                    self._fds[name] = self._fds.pop(name)  # each time others come first
                    self._write(name)
                    n -= 1

    def waiting(self, queues: Sequence[str], besides: str) -> int:
        """How many consumers wait for one of these queues, or for any if it is none; without the one of this bell."""
        with self._lock:
            self._refresh()
            return sum(name != besides and _rung(self._fds[name]) < len(_BUSY) for name in self._consumers(queues))

    def _consumers(self, queues: Sequence[str]) -> list[str]:
        marks = [_EVERY, *(f".{queue_mark(queue)}." for queue in queues)]
        return [
            name for name in self._fds if name.startswith(CONSUMER) and (not queues or any(mark in name for mark in marks))
        ]

    def close(self) -> None:
        with self._lock:
            for fd in self._fds.values():
                os.close(fd)
            self._fds.clear()
            self._seen = -1

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self.close()

    def _refresh(self) -> None:
        try:
            changed = os.stat(self.directory).st_mtime_ns
            if changed == self._seen:
                return
            directory = open_directory(self.directory)
        except OSError:  # there is none, or it is not ours: then nobody can be rung, and all look by themselves
            self._forget(list(self._fds))
            self._seen = -1
            return
        try:
            names = os.listdir(directory)
            self._seen = changed if time.time_ns() - changed > _FRESH else -1
            self._forget(self._fds.keys() - set(names))
            for name in names:
                if name not in self._fds:
                    self._add(directory, name)
        finally:
            os.close(directory)

    def _forget(self, names: Collection[str]) -> None:
        for gone in names:
            os.close(self._fds.pop(gone))

    def _add(self, directory: int, name: str) -> None:
        try:
            if name.startswith(_NEW):
                if time.time() - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime > _STALE:
                    os.unlink(name, dir_fd=directory)
            else:
                self._fds[name] = open_bell(directory, name)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nobody reads: its owner died
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=directory)

    def _write(self, name: str) -> None:
        try:
            os.write(self._fds[name], b"\0")
        except BlockingIOError:
            return
        except BrokenPipeError:
            os.close(self._fds.pop(name))
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.directory, name))


def _rung(fd: int) -> int:
    """How many bytes were written since its owner listened last."""
    written = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, written)
    return written[0]
