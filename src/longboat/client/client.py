"""Client: the calling side in one process. Everything that is enqueued leaves by `send` or `asend`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, TypeVar

from longboat.client.enqueue_events import EnqueueEvents
from longboat.client.flows import Flows
from longboat.client.inbox import Inbox, not_found
from longboat.client.kept import Kept
from longboat.client.outbox import Outbox
from longboat.client.outbox_table import Extra, add
from longboat.client.progress_bar import bar
from longboat.client.records import TaskRecords
from longboat.client.storing import adopt, store
from longboat.client.subscription import Subscription
from longboat.client.waiting import (
    BLOCKING,
    Looks,
    check_kept,
    check_may_block,
    failed_parents,
    tell_blocked,
    value_of,
    wait,
)
from longboat.client.waits import Waits
from longboat.client.watch import awatch, watch
from longboat.contract.awaited import is_awaited, using_awaited
from longboat.contract.broker import Broker
from longboat.contract.caller import Caller
from longboat.contract.optional import broadcasts, transactional
from longboat.core.bounds import MESSAGE_LIMIT
from longboat.core.clock import Duration, seconds
from longboat.core.codec import decoded, too_large
from longboat.core.job import Job, Result, State
from longboat.core.portions import TOGETHER
from longboat.core.views import JobView, told_view
from longboat.errors import (
    BrokerError,
    BrokerMisconfigured,
    BrokerUnavailable,
    ConfigError,
    NotDelivered,
    TooLarge,
    Unsupported,
    again,
)
from longboat.operate.audit import told_here
from longboat.operate.explain import explain, served, unserved
from longboat.tasks.handle import LOGS, PROGRESS, Handle, LogLine, Progress, Update
from longboat.tasks.middleware import Middleware, passing
from longboat.tasks.outgoing import Outgoing

R = TypeVar("R")

Stored = Iterable[tuple[list[Job], set[str]]]
"""Batches of jobs, and which ids of each were new."""

_NOTHING: contextlib.AbstractContextManager[None] = contextlib.nullcontext()


class Client:
    """One process's connection: an outbox for jobs, an inbox for results. Safe to use from any thread or event loop."""

    def __init__(
        self, broker: Broker, middlewares: Sequence[Middleware] = (), kept: Kept | None = None, address: str = ""
    ) -> None:
        """`middlewares` may grow later. `address`: the broker's, without its secrets, for messages."""
        self.broker = broker
        self.kept = kept or Kept()
        self.enqueue_events = EnqueueEvents(broker.kv, lambda: broadcasts(broker))
        self.flows = Flows(broker, self)
        self.records = TaskRecords(broker.kv, patient=self.kept.spool is not None)
        self._middlewares = middlewares
        self._address = address
        self._outbox = Outbox(broker, self.enqueue_events.stored, self.kept.spool)
        self._inbox = Inbox(broker, patient=self.kept.spool is not None, address=address)
        self._waits = Waits(self._inbox, self._look_up)
        self._prepared = False

    def close(self) -> None:
        self._outbox.close()
        self.enqueue_events.close()
        self._inbox.close()
        self.kept.close()
        self.broker.close()

    # --- jobs out

    def send(self, outgoing: Outgoing) -> list[Handle[Any]]:
        """Store the jobs durably; returns a handle on each, in order.

        The way of every job: past the middlewares, then the check of its size, then it is stored by the put that the call
        asks for.
        """
        began = monotonic()
        if self._middlewares:
            with passing(self._middlewares, outgoing):
                handles = self._put(outgoing)
        else:
            handles = self._put(outgoing)
        if (took := monotonic() - began) > BLOCKING:
            tell_blocked(took, handles)
        return handles

    async def asend(self, outgoing: Outgoing) -> list[Handle[Any]]:
        """As `send`, without blocking the event loop."""
        if outgoing.connection is not None:
            return await self._asend_within(outgoing)
        if not outgoing.plain:
            import asyncio

            return await asyncio.to_thread(self.send, outgoing)
        with passing(self._middlewares, outgoing) if self._middlewares else _NOTHING:
            job = outgoing.jobs[0]
            check_size(job)
            return [Handle(self, job.id, job.task, outgoing.kind, job.keep, await self._outbox.aput(job))]

    async def _asend_within(self, outgoing: Outgoing) -> list[Handle[Any]]:
        """Within the transaction of an asynchronous session or connection: what runs inside it has a synchronous one."""

        def sending(session: object) -> list[Handle[Any]]:
            outgoing.connection = session
            return self.send(outgoing)

        if is_awaited(given := outgoing.connection):
            return await using_awaited(given, sending)
        run_sync = getattr(given, "run_sync", None)
        if run_sync is None:
            raise ConfigError(
                "aenqueue with session=: this one blocks, so call enqueue, in the thread that uses it; "
                "an AsyncSession or AsyncConnection of SQLAlchemy, or a connection of aiosqlite, asyncpg or psycopg's "
                "AsyncConnection, can be awaited"
            )
        await self._prepare()
        handles: list[Handle[Any]] = await run_sync(sending)
        return handles

    async def _prepare(self) -> None:
        """Make the tables beside the event loop: what `run_sync` runs is on it."""
        import asyncio

        if not self._prepared:
            if self.kept.outbox is not None:
                await asyncio.to_thread(self.kept.prepare)
            else:
                await asyncio.to_thread(self.broker.kv.read, PROGRESS, ["-"])  # whatever is read first makes them
            self._prepared = True

    def _put(self, outgoing: Outgoing) -> list[Handle[Any]]:
        kind, jobs = outgoing.kind, outgoing.jobs
        if outgoing.plain:
            check_size(job := jobs[0])
            return [Handle(self, job.id, job.task, kind, job.keep, self._outbox.put(job))]
        handles: list[Handle[Any]] = []
        for jobs, new in self._put_batches(outgoing):
            all_new = len(new) == len(jobs)
            handles += [Handle(self, job.id, job.task, kind, job.keep, all_new or _taken(new, job.id)) for job in jobs]
        return handles

    def _put_batches(self, outgoing: Outgoing) -> Stored:
        """Store all jobs. Raises Unsupported for a connection where the broker does not keep its jobs in a database."""
        if outgoing.batches is not None and outgoing.connection is None:
            return self._put_many(outgoing)
        batches = outgoing.batches or [outgoing.jobs]
        return ((jobs, self._store(check_together(jobs), outgoing)) for jobs in batches)

    def _store(self, jobs: list[Job], outgoing: Outgoing) -> set[str]:
        """Store these jobs of a call, together or not at all; returns the ids that were new."""
        if outgoing.connection is not None and self.kept.outbox is not None:
            self._add_to_outbox(jobs, outgoing)
            return {job.id for job in jobs}
        if outgoing.connection is not None:
            within = transactional(self.broker).within(outgoing.connection)
            return store(within, jobs, outgoing, within.put)
        put: Callable[[list[Job]], Collection[str]] = self._outbox.put_many if len(jobs) > 1 else self._put_one
        spool = self.kept.spool
        if spool is None:
            return store(self.broker, jobs, outgoing, put)
        extra = Extra(dict(outgoing.keys), outgoing.flow, outgoing.ends)
        try:
            return store(self.broker, jobs, outgoing, put)
        except BrokerMisconfigured:
            raise
        except BrokerUnavailable as error:  # before the put, which would have spooled them
            spool.add(jobs, error, extra=extra)
            return {job.id for job in jobs}

    def _add_to_outbox(self, jobs: list[Job], outgoing: Outgoing) -> None:
        if outgoing.parent:
            for job in jobs:
                adopt(self.broker, job, outgoing.parent)
        extra = Extra(outgoing.keys, outgoing.flow, outgoing.ends) if outgoing.keys or outgoing.flow else None
        self.kept.prepare()
        add(Caller(outgoing.connection), jobs, extra)

    def _put_one(self, jobs: list[Job]) -> list[str]:
        return [job.id for job in jobs if self._outbox.put(job)]

    def _put_many(self, outgoing: Outgoing) -> Stored:
        """The next batch is made while one is stored: the broker stores mostly without holding the interpreter."""
        from concurrent.futures import Future, ThreadPoolExecutor

        waiting: tuple[list[Job], Future[set[str]]] | None = None
        new: set[str] = set()
        with bar("Enqueued", outgoing.total, outgoing.progress) as advance, ThreadPoolExecutor(1) as storing:
            try:
                for jobs in outgoing.batches or ():
                    for job in jobs:
                        check_size(job)
                    before, waiting = waiting, (jobs, storing.submit(self._store, jobs, outgoing))
                    if before is not None:
                        yield before[0], before[1].result()
                        advance(len(before[0]))
            finally:
                if waiting is not None:
                    new = waiting[1].result()
            if waiting is not None:
                yield waiting[0], new
                advance(len(waiting[0]))

    # --- results in

    def result(self, handle: Handle[R], timeout: Duration | None) -> R:
        limit = None if timeout is None else seconds(timeout, "timeout")
        if handle.known is None:
            check_may_block("result()", "`await` the job")
            arrived = threading.Event()
            end = self.subscribe([handle], lambda _: arrived.set())
            try:
                wait(arrived, self._looks(handle, limit))
            finally:
                end()
        return value_of(handle)

    async def aresult(self, handle: Handle[R]) -> R:
        if handle.known is None:
            check_kept(handle)
            await self._waits.ended(handle)
        return value_of(handle)

    def _looks(self, handle: Handle[Any], limit: float | None) -> Looks:
        late = f"job {handle.id} has not ended", handle

        def look() -> None:
            if failed := self._look_up([handle]):
                value_of(failed[handle.id])

        return Looks(limit, look, lambda: late, at_once=handle.keep is None)

    def _look_up(self, handles: Sequence[Handle[Any]]) -> Mapping[str, Handle[Any]]:
        """As `look`. Of these jobs, those that will never start because a parent has failed, and a handle on that one."""
        waiting = [view.id for view in self.look(handles) if view is not None and view.state is State.WAITING]
        found: dict[str, Handle[Any]] = {}
        with contextlib.suppress(BrokerUnavailable):
            for job_id, failed in failed_parents(self.broker, waiting).items():
                failure = failed.failures[-1] if failed.failures else None
                known = Result(failed.id, failed.state, None, failure, failed.task, failed.attempts)
                found[job_id] = Handle[Any](self, failed.id, failed.task, known=known)
        return found

    def look(self, handles: Sequence[Handle[Any]]) -> list[JobView | None]:
        """Tell those who wait for these that a job is gone, if one is; what the broker knows of each, if it answers."""
        ids = [handle.id for handle in handles]
        kept = self.kept.views(ids)  # first: a job that leaves for the broker meanwhile is found there
        for job_id, view in kept.items():
            if isinstance(view, NotDelivered):
                self._inbox.tell([(job_id, view)])
        found: dict[str, JobView | None] = {}
        with contextlib.suppress(BrokerUnavailable, Unsupported):
            asked = [job_id for job_id in ids if job_id not in kept]
            found = dict(zip(asked, self._inbox.look(asked), strict=True))
        return [found.get(job_id) for job_id in ids]

    def why(self, job_id: str) -> str:
        """Why the job has not ended. Raises JobNotFound."""
        if job_id in self.kept.views([job_id]):
            return "the broker does not have it yet: it waits in this app's spool or outbox"
        try:
            found = explain(self.broker, job_id, self._address)
        except Unsupported:
            return "it goes on"
        except BrokerError as error:
            return f"the broker cannot say why ({error})"
        if found is None:
            raise not_found(job_id, self._address)
        return found

    def unserved(self, job_id: str) -> str:
        """That no living worker serves the queue in which the job is ready; empty if one does, or if nobody can tell."""
        there = f" at {self._address}" if self._address else ""
        with contextlib.suppress(BrokerError):
            try:
                view = self.broker.inspector.find([job_id])[0]
            except Unsupported:
                return unserved(self.broker, there)
            if view is not None and view.state is State.READY and not served(self.broker, view.queue):
                return f"no living worker serves queue {view.queue}{there}"
        return ""

    def subscribe(
        self, handles: Sequence[Handle[Any]], sink: Callable[[str], None], failed: Callable[[Exception], None] | None = None
    ) -> Callable[[], None]:
        """Set `known` of these handles when their jobs have ended, then call `sink` with each id, from another thread.

        Returns a function that ends the subscription. Raises BrokerUnavailable, or Unsupported for jobs whose results the
        broker cannot tell here. With `failed` neither this nor the end of it blocks, and what it would raise is given to
        that, from another thread.
        """
        waiting: dict[str, list[Handle[Any]]] = {}
        for handle in handles:
            check_kept(handle)
            waiting.setdefault(handle.id, []).append(handle)
        errors: list[Exception] = []
        ids, subscription = list(waiting), Subscription(waiting, sink, failed or errors.append)
        try:
            if failed is None:
                self._inbox.watch(ids, subscription)
            else:
                self._inbox.add((each, subscription) for each in ids)
        except BaseException:
            self._inbox.forget(ids, subscription)
            raise
        if errors:
            self._inbox.forget(ids, subscription, soon=False)
            raise again(errors[0])
        return lambda: self._inbox.forget(ids, subscription, soon=failed is not None)

    # --- looking

    def view(self, job_id: str) -> JobView:
        kept = self.kept.views([job_id]).get(job_id)
        if isinstance(kept, NotDelivered):
            raise kept
        try:
            view = kept or self.broker.inspector.find([job_id])[0]
        except Unsupported:
            if (view := self._told(job_id)) is None:
                raise
        if view is None:
            raise not_found(job_id, self._address)
        return view

    def _told(self, job_id: str) -> JobView | None:
        """What this process was told of the job's end, where jobs cannot be looked up. Those that wait in vain have none."""
        try:
            result = self.broker.results.get([job_id])[0]
        except BrokerError:
            return None
        return None if result is None or result.of or not result.state.ended else told_view(result)

    def watch(self, handle: Handle[Any]) -> Iterator[Update]:
        return watch(self.broker, handle)

    def awatch(self, handle: Handle[Any]) -> AsyncIterator[Update]:
        return awatch(self.broker, handle)

    def progress(self, job_id: str) -> Progress | None:
        return decoded(self.broker.kv.read(PROGRESS, [job_id])[0], Progress)

    def logs(self, job_id: str) -> list[LogLine]:
        entries = self.broker.kv.entries(LOGS + job_id, limit=100_000)
        return [decoded(value, LogLine) or LogLine(0.0, "WARNING", "(a line that cannot be read)") for _, value in entries]

    def cancel(self, job_id: str, reason: str) -> bool:
        return bool(told_here(self.broker, "cancel", self.broker.inspector.cancel([job_id]), reason))

    def retry(self, job_id: str, reason: str) -> bool:
        return bool(told_here(self.broker, "retry", self.broker.inspector.retry([job_id]), reason))


def _taken(new: set[str], job_id: str) -> bool:
    """Whether it is new; a second call that the same job stands for is not."""
    found = job_id in new
    new.discard(job_id)
    return found


def check_size(job: Job) -> None:
    """Raises TooLarge, before anything is sent."""
    if len(job.payload) > MESSAGE_LIMIT:
        raise too_large(job)


def check_together(jobs: list[Job]) -> list[Job]:
    """The same for jobs that are stored together or not at all."""
    for job in jobs:
        check_size(job)
    together = sum(len(job.payload) for job in jobs)
    if together > TOGETHER:
        raise TooLarge(
            f"{len(jobs):,} jobs are to be stored together or not at all, and their arguments are {together:,} bytes: the "
            f"limit is {TOGETHER:,}. Put big data in a file or a store and pass its path."
        )
    return jobs
