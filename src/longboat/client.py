"""The calling side: what tasks and handles need of a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from longboat import codec
from longboat.broker import Broker
from longboat.clock import SYSTEM, Duration, seconds
from longboat.errors import JobCancelled, JobFailed, JobNotFound, ResultTimeout, TooLarge, Unsupported
from longboat.handle import Handle
from longboat.inbox import Inbox, not_found
from longboat.job import Job, JobView, Result, State
from longboat.outbox import Outbox
from longboat.progress import bar

if TYPE_CHECKING:
    from concurrent.futures import Future

R = TypeVar("R")

WAKE_UP = 1.0
"""Seconds between wake-ups of a thread that waits for a result."""


class Client:
    """One process's connection: an outbox for jobs, an inbox for results. Safe to use from any thread or loop."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._outbox = Outbox(broker)
        self._inbox = Inbox(broker)

    def close(self) -> None:
        self._outbox.close()
        self._inbox.close()
        self.broker.close()

    # --- jobs out

    def enqueue(self, job: Job, kind: Any) -> Handle[Any]:
        check_size(job)
        return self._handle(job, kind, self._outbox.put(job))

    async def aenqueue(self, job: Job, kind: Any) -> Handle[Any]:
        check_size(job)
        return self._handle(job, kind, await self._outbox.aput(job))

    def enqueue_many(self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None) -> list[Handle[Any]]:
        """The next batch is made while one is stored: the broker does that without the interpreter, mostly."""
        from concurrent.futures import ThreadPoolExecutor

        handles: list[Handle[Any]] = []
        with bar("Enqueued", total, progress) as advance, ThreadPoolExecutor(1) as storing:
            waiting: tuple[list[Job], Future[set[str]]] | None = None
            try:
                for batch in batches:
                    for job in batch:
                        check_size(job)
                    before, waiting = waiting, (batch, storing.submit(self._outbox.put_many, batch))
                    if before is not None:
                        handles += self._stored(*before, kind)
                        advance(len(before[0]))
            finally:
                if waiting is not None:
                    handles += self._stored(*waiting, kind)
                    advance(len(waiting[0]))
        return handles

    async def aenqueue_many(
        self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None
    ) -> list[Handle[Any]]:
        import asyncio

        return await asyncio.to_thread(self.enqueue_many, batches, kind, progress, total)

    def _stored(self, batch: list[Job], stored: Future[set[str]], kind: Any) -> list[Handle[Any]]:
        new = stored.result()
        return [Handle(self, job.id, job.task, kind, job.keep, job.id in new) for job in batch]

    def _handle(self, job: Job, kind: Any, new: bool) -> Handle[Any]:
        return Handle(self, job.id, job.task, kind, job.keep, new)

    def enqueue_within(self, connection: object, batches: Iterable[list[Job]], kind: Any) -> list[Handle[Any]]:
        """Store jobs within the transaction that the connection is in: they are there once that is committed.

        Raises Unsupported by brokers that keep their jobs elsewhere.
        """
        put_within = getattr(self.broker, "put_within", None)
        if put_within is None:
            raise Unsupported("using(connection=…): this broker does not keep its jobs in the database of the connection")
        handles: list[Handle[Any]] = []
        for batch in batches:
            for job in batch:
                check_size(job)
            new = set(put_within(connection, batch))
            handles += [self._handle(job, kind, job.id in new) for job in batch]
        return handles

    # --- results in

    def result(self, handle: Handle[R], timeout: Duration | None) -> R:
        limit = None if timeout is None else seconds(timeout, "timeout")
        if handle.known is None:
            arrived = threading.Event()
            end = self.subscribe([handle], lambda _: arrived.set())
            try:
                if not _waited(arrived, limit):
                    raise ResultTimeout(f"job {handle.id} has not ended within {limit:g} s; it goes on")
            finally:
                end()
        return value_of(handle)

    async def aresult(self, handle: Handle[R]) -> R:
        import asyncio

        if handle.known is None:
            loop = asyncio.get_running_loop()
            arrived = asyncio.Event()

            def sink(_: str) -> None:
                try:
                    loop.call_soon_threadsafe(arrived.set)
                except RuntimeError:  # the loop was closed, and with it who waited
                    return

            end = self.subscribe([handle], sink)
            try:
                await arrived.wait()
            finally:
                end()
        return value_of(handle)

    def subscribe(self, handles: Sequence[Handle[Any]], sink: Callable[[str], None]) -> Callable[[], None]:
        """Make `known` what becomes of these, then call `sink` with each id, from another thread; returns what ends that."""
        waiting: dict[str, list[Handle[Any]]] = {}
        for handle in handles:
            _check_kept(handle)
            waiting.setdefault(handle.id, []).append(handle)

        def arrive(job_id: str, what: Result | Exception) -> None:
            for handle in waiting[job_id]:
                handle.known = what
            sink(job_id)

        ids = list(waiting)
        self._inbox.watch(ids, arrive)
        return lambda: self._inbox.forget(ids, arrive)

    # --- looking

    def view(self, job_id: str) -> JobView:
        view = self.broker.inspector.find([job_id])[0]
        if view is None:
            raise not_found(job_id)
        return view

    def cancel(self, job_id: str) -> bool:
        return bool(self.broker.inspector.cancel([job_id]))


def value_of(handle: Handle[R]) -> R:
    """The value of a job that is known to have ended, converted to the handle's kind. Raises what else became of it."""
    what = handle.known
    if what is None:
        raise ResultTimeout(f"job {handle.id} has not ended yet")
    if isinstance(what, Exception):
        raise type(what)(*what.args)  # another one, since its traceback will lead to the handle
    if what.state is State.SUCCEEDED:
        value: R = codec.decode(what.value or codec.NONE, handle.kind)
        return value
    failure = what.failure
    message = failure.message if failure else ""
    if what.state is State.CANCELLED:
        raise JobCancelled(f"job {what.id} was cancelled: {message}")
    kind, text = (failure.type, failure.traceback) if failure else ("", "")
    raise JobFailed(what.id, what.task or handle.task, kind, message, text, what.attempts)


def _waited(arrived: threading.Event, limit: float | None) -> bool:
    """Wait in pieces: a Ctrl-C that comes just before the thread blocks is heeded only when it wakes up."""
    until = None if limit is None else SYSTEM.monotonic() + limit
    while True:
        left = WAKE_UP if until is None else min(WAKE_UP, until - SYSTEM.monotonic())
        if arrived.wait(max(0.0, left)):
            return True
        if until is not None and SYSTEM.monotonic() >= until:
            return False


def check_size(job: Job) -> None:
    """Raises TooLarge, before anything is sent."""
    if len(job.payload) > codec.MESSAGE_LIMIT:
        raise TooLarge(
            f"task {job.task!r}: the arguments are {len(job.payload):,} bytes, the limit is {codec.MESSAGE_LIMIT:,}. "
            "Put big data in a file or a store and pass its path."
        )


def _check_kept(handle: Handle[Any]) -> None:
    if handle.keep == 0:
        raise JobNotFound(f"job {handle.id} keeps no result: its task or call says keep_result=0")
