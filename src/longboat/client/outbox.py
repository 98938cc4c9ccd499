"""Outbox: calls made together, by threads or coroutines, leave in one put (group commit)."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from longboat.client.storing import REFUSALS
from longboat.contract.broker import Broker, Token
from longboat.contract.capabilities import Capability
from longboat.core.job import Job
from longboat.core.portions import fitting
from longboat.errors import AppClosed, BrokerFull, BrokerMisconfigured, BrokerUnavailable, again

if TYPE_CHECKING:
    import asyncio

    from longboat.client.spool import Spool

BATCH = 1000
"""Jobs in one put, at most: see core/portions.py."""
PATIENCE, LONGEST = 0.5, 0.001
"""How long a put waits for the callers of the last one: this part of what that one took, so many seconds at most."""


class _Entry(msgspec.Struct, eq=False, gc=False):
    """One caller's job on its way; `new` or `error` is set once it is `done`."""

    job: Job
    future: asyncio.Future[bool] | None = None
    done: bool = False
    new: bool = True
    error: Exception | None = None

    def raised(self) -> Exception | None:
        """What its caller raises: a copy of its own."""
        if self.error is None or (own := again(self.error)) is self.error:
            return self.error
        own.__cause__ = self.error
        return own


class Outbox:
    """Puts jobs for many callers. While one put is under way, further calls gather for the next."""

    def __init__(
        self, broker: Broker, stored: Callable[[Sequence[Job]], None] = lambda _: None, spool: Spool | None = None
    ) -> None:
        self._broker = broker
        self._spool = spool
        self._stored = stored
        """Called with the new jobs of each put, by one thread at a time."""
        self._client = os.urandom(12).hex()
        self._numbers = itertools.count(1)
        self._pending: list[_Entry] = []
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._taken = False
        """Whether somebody has the turn: a put is under way."""
        self._expected = 0
        """So many callers a put waits for. 0: none does."""
        self._gathered = threading.Condition(self._lock)
        self._last = 0, 0.0
        """How many callers made or awaited the last put, and the seconds that it took."""
        self._kick = threading.Event()
        self._running_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
        """asyncio's, imported when it is needed: the import takes long, and most callers have no coroutines."""
        self._kicking: set[asyncio.AbstractEventLoop] = set()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, job: Job) -> bool:
        """Store a job; False if its id was known. The thread that gets the turn puts the jobs of all that wait."""
        entry = _Entry(job)
        with self._lock:
            self._add(entry)
            # Whose job is stored must not wait for the next put, as he would for a lock: then few would gather for it.
            while self._taken and not entry.done:
                self._changed.wait()
            mine = not entry.done
            self._taken = self._taken or mine
        if mine:
            try:
                self._gather()
                while not entry.done:
                    self._flush()
            finally:
                self._end_turn()
        if error := entry.raised():
            raise error
        return entry.new

    def put_many(self, jobs: Sequence[Job]) -> set[str]:
        """Store a batch, all or nothing; returns the ids that were new."""
        with self._turn():
            self._check_open()
            return self._put(jobs)

    def aput(self, job: Job) -> asyncio.Future[bool]:
        """As `put`, to be awaited on the running loop. Cancelling the await does not take the job back."""
        if self._running_loop is None:
            from asyncio import get_running_loop

            self._running_loop = get_running_loop
        loop = self._running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        with self._lock:
            self._add(_Entry(job, future))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="longboat-outbox", daemon=True)
                thread.start()  # before `close` can join it, should Ctrl-C strike here
                self._thread = thread
            if loop not in self._kicking:
                # After everything that is ready to run now: what it enqueues leaves together.
                self._kicking.add(loop)
                loop.call_soon(self._kicked, loop)
        return future

    def _kicked(self, loop: asyncio.AbstractEventLoop) -> None:
        self._kicking.discard(loop)
        self._kick.set()

    def close(self) -> None:
        """Store what is pending, then take no more."""
        with self._lock:
            self._closed = True
        self._kick.set()
        if self._thread is not None:
            self._thread.join()

    def _add(self, entry: _Entry) -> None:
        """Under the lock."""
        self._check_open()
        self._pending.append(entry)
        if 0 < self._expected <= len(self._pending):
            self._gathered.notify()

    def _check_open(self) -> None:
        if self._closed:
            raise AppClosed("the app was closed before this was stored")

    def _run(self) -> None:
        """Puts the jobs of coroutines, which cannot wait for the turn themselves."""
        while not (self._closed and not self._pending):
            self._kick.wait()
            if not self._closed:
                self._kick.clear()
            with self._turn():
                while self._pending:
                    self._flush()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            while self._taken:
                self._changed.wait()
            self._taken = True
        try:
            yield
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        with self._lock:
            self._taken = False
            self._changed.notify_all()

    def _gather(self) -> None:
        """Who was told that his job is stored calls again when the next put has just begun: it would have one job."""
        callers, took = self._last
        if callers > 1:
            with self._lock:
                self._expected = min(callers, BATCH)
                self._gathered.wait_for(lambda: len(self._pending) >= self._expected, min(took * PATIENCE, LONGEST))
                self._expected = 0

    def _put(self, jobs: Sequence[Job]) -> set[str]:
        token = self._client, next(self._numbers)
        if self._spool is None:
            new = set(self._put_surely(jobs, token))
        elif (spooled := self._put_or_spool(self._spool, jobs, token)) is None:
            return {job.id for job in jobs}
        else:
            new = spooled
        self._stored(jobs if len(new) == len(jobs) else [job for job in jobs if job.id in new])
        return new

    def _put_surely(self, jobs: Sequence[Job], token: Token) -> list[str]:
        """Tried again if no answer came: the second one says what became of the first. Raises an error that says so if none
        comes again."""
        tries = 2 if Capability.TOKENS in self._broker.capabilities else 1
        unknown = False
        while True:
            tries -= 1
            try:
                return self._broker.put(jobs, token=token)
            except BrokerUnavailable as error:
                unknown = unknown or error.unknown
                if not unknown:
                    raise
                if not tries:
                    raise unsure(error, jobs) from error
            except BrokerFull as error:
                if not unknown:
                    raise
                raise unsure(BrokerUnavailable(f"no answer came, and a second try was refused: {error}"), jobs) from error

    def _put_or_spool(self, spool: Spool, jobs: Sequence[Job], token: Token) -> set[str] | None:
        """None: the broker is away, and the spool has them."""
        if spool.away:
            spool.add(jobs)
            return None
        try:
            return set(self._broker.put(jobs, token=token))
        except BrokerMisconfigured:
            raise
        except BrokerUnavailable as error:
            try:
                spool.add(jobs, error, token=token)
            except BrokerUnavailable as full:
                if not error.unknown:
                    raise
                raise unsure(full, jobs) from full
            self._client = os.urandom(12).hex()  # a put of a later number would make the broker take this one for known
            return None

    def _flush(self) -> None:
        with self._lock:
            fit = min(BATCH, len(self._pending))
            if fit > 1:
                fit = fitting([len(entry.job.payload) for entry in self._pending[:fit]])
            batch, self._pending = self._pending[:fit], self._pending[fit:]
        began = monotonic()
        self._store(batch)
        self._last = len(batch) + len(self._pending), monotonic() - began

    def _store(self, batch: list[_Entry]) -> None:
        """Put these jobs together; one by one where the broker refuses one of them, so that only its caller is told."""
        error: Exception | None = None
        new: set[str] = set()
        jobs = [entry.job for entry in batch]
        try:
            new = self._put(jobs)
        except Exception as caught:
            if len(batch) > 1 and isinstance(caught, REFUSALS):
                for entry in batch:
                    self._store([entry])
                return
            error = caught
        waiting: dict[asyncio.AbstractEventLoop, list[_Entry]] = {}
        for entry in batch:
            entry.error = error
            # Of two calls with the same chosen id in one batch, the first is new.
            entry.new = entry.job.id in new
            new.discard(entry.job.id)
            entry.done = True
            if entry.future is not None:
                waiting.setdefault(entry.future.get_loop(), []).append(entry)
        for loop, entries in waiting.items():
            try:
                loop.call_soon_threadsafe(_resolve, entries)
            except RuntimeError:  # the callers' loop was closed meanwhile; the jobs are stored
                continue


def _resolve(entries: list[_Entry]) -> None:
    for entry in entries:
        future = entry.future
        if future is None or future.done():
            continue
        if entry.error is None:
            future.set_result(entry.new)
        elif error := entry.raised():
            future.set_exception(error)


def unsure(error: BrokerUnavailable, jobs: Sequence[Job]) -> BrokerUnavailable:
    """The same error, saying that nobody knows whether these are stored."""
    what = f"job {jobs[0].id} is" if len(jobs) == 1 else f"the {len(jobs):,} jobs from {jobs[0].id} on are"
    said = type(error)(f"{error}. It is not known whether {what} stored")
    said.unknown = True
    return said
