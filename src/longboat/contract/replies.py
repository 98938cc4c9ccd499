"""How jobs ended, told by carriers alone to the mailbox of who put them: for want of a store of results."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from longboat.contract.base import BaseListener
from longboat.contract.base_forks import remake_after_fork
from longboat.contract.carrier import Carrier, Mailbox
from longboat.contract.results import Listener
from longboat.core.bounds import Seconds
from longboat.core.codec import decoded
from longboat.core.job import Job, Result, made_here, new_id
from longboat.errors import BrokerError, BrokerMisconfigured, BrokerUnavailable, Unsupported, again

logger = logging.getLogger("longboat.client")

KEPT, BYTES_KEPT = 100_000, 64_000_000
"""Results that a process keeps until somebody there asks, and the bytes of their values: the newest."""
UNTOLD = 10_000
"""Results that wait in a worker while the server takes nothing: the newest."""
MESSAGE_SIZE = 1_000_000
"""Bytes of results in one message, unless a single one is longer."""
ASK_AGAIN = 60.0
"""Seconds until a server that refused a mailbox is asked again."""
REOPEN = 0.5
"""Seconds between tries to open a lost mailbox while somebody waits."""


class Reply(msgspec.Struct, array_like=True):
    """One job that has ended. A message is a list of these."""

    result: Result
    keep: Seconds
    """Seconds that it stays readable."""
    after: list[str] = []
    """Of a job that is dead or cancelled: the ids of those that wait for it in vain."""

    def results(self) -> Iterator[Result]:
        yield self.result
        for each in self.after:
            yield msgspec.structs.replace(self.result, id=each, of=self.result.id)


class Replies:
    """A worker's side: what is to be told to whom."""

    def __init__(self, tell: Callable[[Sequence[tuple[str, bytes]]], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._untold: list[tuple[str, Reply]] = []

    def add(self, address: str, result: Result, keep: float, after: Sequence[str] = ()) -> None:
        if address:
            with self._lock:
                self._untold.append((address, Reply(result, keep, list(after))))

    def send(self) -> None:
        """Stored on return. While the server takes nothing they wait for the next call: jobs end all the same."""
        with self._lock:
            untold, self._untold = self._untold, []
        if not untold:
            return
        try:
            self._tell(list(_messages(untold)))
        except BrokerUnavailable:
            with self._lock:
                self._untold = [*untold, *self._untold][-UNTOLD:]


def _messages(untold: Sequence[tuple[str, Reply]]) -> Iterator[tuple[str, bytes]]:
    by_address: dict[str, list[Reply]] = {}
    for address, reply in untold:
        by_address.setdefault(address, []).append(reply)
    for address, replies in by_address.items():
        some: list[Reply] = []
        size = 0
        for reply in replies:
            length = len(reply.result.value or b"")
            if some and size + length > MESSAGE_SIZE:
                yield address, msgspec.msgpack.encode(some)
                some, size = [], 0
            some.append(reply)
            size += length
        yield address, msgspec.msgpack.encode(some)


class RepliedResults:
    """A client's side: a ResultStore of the jobs that this process put. A forked child has a mailbox of its own."""

    def __init__(self, carrier: Carrier, unsupported: Callable[[], Unsupported]) -> None:
        """`unsupported` makes the error for jobs that others put."""
        self._carrier = carrier
        self._unsupported = unsupported
        self.after_fork()
        remake_after_fork(self)

    def after_fork(self) -> None:
        self._address = new_id()
        self._opening = threading.Lock()
        self._mailbox: Mailbox | None = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Result, float]] = OrderedDict()
        """With the monotonic time at which each is forgotten."""
        self._bytes = 0
        self._named: OrderedDict[str, None] = OrderedDict()
        """Ids that callers here chose: no other says by itself where it was made."""
        self._listeners: list[_Listener] = []
        self._refused: tuple[BrokerMisconfigured, float] | None = None
        """Why there is no mailbox, and the monotonic time at which to ask again."""

    def expect(self, jobs: Collection[Job]) -> str:
        """These will be put by this process; returns the address of its mailbox. Raises BrokerUnavailable.

        "": the server allows this user no mailbox. Jobs may be put all the same; `check` says why nobody is told.
        """
        if self._refused and time.monotonic() < self._refused[1]:
            return ""
        try:
            self.open()
        except BrokerMisconfigured as error:
            if not self._refused:
                logger.warning("results cannot be told here, since the server allows this user no mailbox: %s", error)
            self._refused = error, time.monotonic() + ASK_AGAIN
            return ""
        self._refused = None
        if named := [job.id for job in jobs if not made_here(job.id)]:
            with self._lock:
                self._named.update(dict.fromkeys(named))
                while len(self._named) > KEPT:
                    self._named.popitem(last=False)
        return self._address

    def open(self) -> None:
        """See to it that the mailbox hears. Raises BrokerUnavailable."""
        mailbox = self._mailbox
        if mailbox is not None and not mailbox.lost:
            return
        with self._opening:
            if self._mailbox is None or self._mailbox.lost:
                self._mailbox = self._carrier.mailbox(self._address, self._heard, self._ring)

    def check(self, ids: Sequence[str]) -> None:
        """Raises Unsupported for a job that this process has not put, BrokerMisconfigured where it may have no mailbox."""
        if self._refused:
            raise again(self._refused[0])
        for each in ids:
            if not made_here(each) and each not in self._named:
                raise self._unsupported()

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        self.check(ids)
        return self.known(ids)

    def known(self, ids: Collection[str]) -> list[Result | None]:
        now = time.monotonic()
        with self._lock:
            found = [self._kept.get(each) for each in ids]
        return [each[0] if each is not None and now < each[1] else None for each in found]

    def forget(self, job_id: str) -> None:
        """The job runs again: what was told of its end no longer holds."""
        with self._lock:
            self._forget(job_id)

    def listen(self) -> Listener:
        listener = _Listener(self)
        with self._lock:
            self._listeners.append(listener)
        return listener

    def leave(self, listener: _Listener) -> None:
        with self._lock:
            self._listeners.remove(listener)

    def close(self) -> None:
        """What has not been told by now is lost."""
        mailbox, self._mailbox = self._mailbox, None
        if mailbox is not None:
            mailbox.close()

    # --- in the carrier's thread

    def _heard(self, message: bytes) -> None:
        replies = decoded(message, list[Reply]) or ()
        now = time.monotonic()
        with self._lock:
            for reply in replies:
                for result in reply.results():
                    self._forget(result.id)
                    self._kept[result.id] = (result, now + reply.keep)
                    self._bytes += len(result.value or b"")
            while self._kept and (len(self._kept) > KEPT or self._bytes > BYTES_KEPT or self._oldest_is_over(now)):
                self._forget(next(iter(self._kept)))
            listeners = list(self._listeners)
        for listener in listeners:
            listener.heard([result.id for reply in replies for result in reply.results()])

    def _oldest_is_over(self, now: float) -> bool:
        return next(iter(self._kept.values()))[1] <= now

    def _forget(self, job_id: str) -> None:
        if (old := self._kept.pop(job_id, None)) is not None:
            self._bytes -= len(old[0].value or b"")

    def _ring(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.ring()


class _Listener(BaseListener):
    def __init__(self, results: RepliedResults) -> None:
        super().__init__()
        self._results = results
        self._changed = threading.Condition(self._lock)
        self._told: set[str] = set()
        self._rung = False

    def watch(self, ids: Sequence[str]) -> None:
        self._results.check(ids)
        super().watch(ids)

    def heard(self, ids: Collection[str]) -> None:
        with self._lock:
            if told := self._watched.intersection(ids):
                self._told |= told
                self._changed.notify_all()

    def ring(self) -> None:
        with self._lock:
            self._rung = True
            self._changed.notify_all()

    _ring = ring

    def _look(self, fresh: Collection[str]) -> list[Result]:
        with self._lock:
            told, self._told = self._told, set()
        return [result for result in self._results.known(told | set(fresh)) if result is not None]

    def _wait(self, until: float) -> None:
        deaf = False
        if not self._closed:
            try:
                self._results.open()
            except BrokerError:
                deaf = True
        with self._lock:
            pause = min(until - time.monotonic(), REOPEN) if deaf else until - time.monotonic()
            self._changed.wait_for(lambda: self._rung or self._told or self._fresh, max(0.0, pause))
            self._rung = False

    def _end(self) -> None:
        with contextlib.suppress(ValueError):  # it belongs to the parent of a fork
            self._results.leave(self)
