"""The calling side: what tasks and handles need of a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from longboat.client.enqueue_events import EnqueueEvents
from longboat.client.flows import Flows, failed_parent, note_members, waited
from longboat.client.inbox import Inbox, not_found
from longboat.client.outbox import Outbox
from longboat.client.progress_bar import bar
from longboat.client.unique import put_unique
from longboat.contract.broker import Broker
from longboat.contract.optional import transactional
from longboat.core import codec
from longboat.core.clock import SYSTEM, Duration, seconds
from longboat.core.constraints import Constraints
from longboat.core.job import Job, Result, State
from longboat.core.views import JobView
from longboat.errors import BrokerUnavailable, JobCancelled, JobFailed, JobNotFound, ResultTimeout, TooLarge, Unsupported
from longboat.tasks.handle import LOGS, PROGRESS, Handle, LogLine, Progress
from longboat.tasks.limits import Unique

if TYPE_CHECKING:
    from concurrent.futures import Future

R = TypeVar("R")

STALLED = 0.5
"""Seconds of waiting after which it is looked whether a job that this one comes after has failed; then ever more rarely."""


class Client:
    """One process's connection: an outbox for jobs, an inbox for results. Safe to use from any thread or loop."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.enqueue_events = EnqueueEvents(broker.kv)
        self._outbox = Outbox(broker, self.enqueue_events.stored)
        self._inbox = Inbox(broker)
        self.flows = Flows(self)

    def close(self) -> None:
        self._outbox.close()
        self.enqueue_events.close()
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
        store = transactional(self.broker)
        handles: list[Handle[Any]] = []
        for batch in batches:
            for job in batch:
                check_size(job)
            new = set(store.put_within(connection, batch))
            handles += [self._handle(job, kind, job.id in new) for job in batch]
        return handles

    def enqueue_unique(self, job: Job, kind: Any, rule: Unique, key: str) -> Handle[Any]:
        """The handle of the job that stands for the key: this one, if it is stored."""
        check_size(job)
        job_id, new = put_unique(self.broker, job, rule, key, self._outbox.put)
        return Handle(self, job_id, job.task, kind, job.keep, new)

    async def aenqueue_unique(self, job: Job, kind: Any, rule: Unique, key: str) -> Handle[Any]:
        import asyncio

        return await asyncio.to_thread(self.enqueue_unique, job, kind, rule, key)

    def enqueue_child(self, job: Job, kind: Any, parent: str) -> Handle[Any]:
        """Under the header "parent", and as a member of the parent's flow, if it has one."""
        job.headers = {**job.headers, "parent": parent}
        view = self.broker.inspector.find([parent])[0]
        if view is not None and view.constraints is not None and view.constraints.flow:
            job.constraints = msgspec.structs.replace(job.constraints or Constraints(), flow=view.constraints.flow)
            note_members(self.broker.kv, view.constraints.flow, [job])
        return self.enqueue(job, kind)

    def store(self, jobs: list[Job]) -> None:
        """Store them together or not at all."""
        for job in jobs:
            check_size(job)
        self._outbox.put_many(jobs)

    def handle(self, job_id: str, task: str, kind: Any = Any) -> Handle[Any]:
        return Handle(self, job_id, task, kind)

    def value(self, handle: Handle[R]) -> R:
        return value_of(handle)

    # --- results in

    def result(self, handle: Handle[R], timeout: Duration | None) -> R:
        limit = None if timeout is None else seconds(timeout, "timeout")
        if handle.known is None:
            arrived = threading.Event()
            end = self.subscribe([handle], lambda _: arrived.set())
            try:
                self._wait(handle, arrived, limit)
            finally:
                end()
        return value_of(handle)

    def _wait(self, handle: Handle[Any], arrived: threading.Event, limit: float | None) -> None:
        """Raises ResultTimeout, and JobFailed or JobCancelled for a job that this one waits for in vain."""
        look_at, until = STALLED, None if limit is None else SYSTEM.monotonic() + limit
        while not waited(arrived, look_at if until is None else min(look_at, max(0.0, until - SYSTEM.monotonic()))):
            if until is not None and SYSTEM.monotonic() >= until:
                raise ResultTimeout(f"job {handle.id} has not ended within {limit:g} s; it goes on")
            self._check_parents(handle)
            look_at *= 2

    def _check_parents(self, handle: Handle[Any]) -> None:
        try:
            failed = failed_parent(self.broker, handle.id)
        except (BrokerUnavailable, Unsupported):
            return
        if failed is not None:
            handle = self.handle(failed.id, failed.task)
            failure = failed.failures[-1] if failed.failures else None
            handle.known = Result(failed.id, failed.state, None, failure, failed.task, failed.attempts)
            value_of(handle)

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
                look_at = STALLED
                while not arrived.is_set():
                    try:
                        await asyncio.wait_for(arrived.wait(), look_at)
                    except TimeoutError:
                        await asyncio.to_thread(self._check_parents, handle)
                        look_at *= 2
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

    def progress(self, job_id: str) -> Progress | None:
        value = self.broker.kv.read(PROGRESS, [job_id])[0]
        return None if value is None else msgspec.msgpack.decode(value, type=Progress)

    def logs(self, job_id: str) -> list[LogLine]:
        decoder = msgspec.msgpack.Decoder(LogLine)
        return [decoder.decode(value) for _, value in self.broker.kv.entries(LOGS + job_id, limit=100_000)]

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
