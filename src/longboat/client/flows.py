"""Flows on the calling side: stored together, recorded in the KV, waited for as a whole."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from longboat.client.waiting import TOGETHER, Looks, check_may_block, coming, from_threads, value_of, wait
from longboat.contract import flow_ends
from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.contract.kv import KV, Entry
from longboat.core import codec
from longboat.core.clock import SYSTEM, Duration, seconds
from longboat.core.job import Job, Result, State, new_id
from longboat.core.views import JobView
from longboat.errors import BrokerError, JobNotFound, Unsupported, again
from longboat.observe import history
from longboat.operate import audit
from longboat.tasks.flow import Ends, Flow, FlowStatus, Plan, end_ids
from longboat.tasks.handle import Handle, HandleClient
from longboat.tasks.outgoing import Outgoing

R = TypeVar("R")

NAMESPACE = "flow"
MEMBERS = "flow.jobs:"
"""The namespace of a flow's members is this and the flow's id. Its entries are in the order in which jobs joined."""
KEPT = 30 * 86400.0
"""Seconds that a flow is known for after it was enqueued, or a job joined it."""

UNREADABLE = "(cannot be read)"

Member = tuple[str, str]
"""A job's id and its task."""


def add_members(kv: KV, flow_id: str, jobs: Sequence[Job]) -> None:
    """Record that these jobs belong to the flow. Call it before they are stored, so that none is missed."""
    for start in range(0, len(jobs), TOGETHER):
        members: list[Member] = [(job.id, job.task) for job in jobs[start : start + TOGETHER]]
        kv.write(MEMBERS + flow_id, [Entry(new_id(), msgspec.msgpack.encode(members), KEPT)])


def members(kv: KV, flow_id: str) -> Iterator[list[Member]]:
    """The flow's jobs in the order in which they joined, in batches; UNREADABLE in place of one that cannot be read."""
    after = ""
    while entries := kv.entries(MEMBERS + flow_id, after=after, limit=20):
        for _, value in entries:
            found: list[Member] | None = codec.decoded(value, list[Member])
            yield [(UNREADABLE, "")] if found is None else found
        after = entries[-1][0]


def plan(kv: KV, flow_id: str) -> Plan:
    """The flow's plan. Raises JobNotFound, and Undecodable for one that cannot be read here."""
    found: Plan = codec.decode(known(kv, flow_id), Plan)
    return found


def known(kv: KV, flow_id: str) -> bytes:
    """The flow's record. Raises JobNotFound."""
    value = kv.read(NAMESPACE, [flow_id])[0]
    if value is None:
        raise JobNotFound(f"no flow {flow_id!r}: it was never enqueued here, or it was forgotten since")
    return value


def newest(kv: KV, limit: int) -> list[tuple[str, Plan]]:
    """The ids and plans of the newest flows, newest first. A plan that cannot be read is one of size 0 that says so.

    Reads all flows that are known: their keys are in order of time.
    """
    found: list[tuple[str, bytes]] = []
    after = ""
    while entries := kv.entries(NAMESPACE, after=after):
        found = [*found, *entries][-limit:]
        after = entries[-1][0]
    return [(flow_id, codec.decoded(value, Plan) or Plan(UNREADABLE, 0.0, "", 0)) for flow_id, value in reversed(found)]


class Seen(NamedTuple):
    """A job of a flow, as far as the broker knows it."""

    id: str
    task: str
    state: State | None
    """None: it is not known."""
    view: JobView | None = None
    """None: it is forgotten, or this broker looks no job up."""
    forgotten: bool = False
    """It counts as succeeded."""


def seen(broker: Broker, flow_id: str) -> Iterator[list[Seen]]:
    """The flow's jobs in the order in which they joined, in batches."""
    if Capability.LOOKUP not in broker.capabilities:
        told: dict[str, State] = flow_ends.ends(broker.kv, flow_id)
        for record in history.workers(broker.kv):
            told |= {job_id: State.RUNNING for job_id, _, _ in record.running}
        for some in members(broker.kv, flow_id):
            yield [Seen(job_id, task, told.get(job_id)) for job_id, task in some]
        return
    for some in members(broker.kv, flow_id):
        views = broker.inspector.find([job_id for job_id, _ in some])
        yield [
            Seen(job_id, task, view.state if view else State.SUCCEEDED, view, view is None)
            for (job_id, task), view in zip(some, views, strict=True)
        ]


def status(broker: Broker, flow_id: str) -> FlowStatus:
    """How far the flow is. Raises JobNotFound."""
    known(broker.kv, flow_id)
    found = FlowStatus(Counter(), [])
    for each in (each for some in seen(broker, flow_id) for each in some):
        if each.id == UNREADABLE:
            found.unreadable += 1
        elif each.state is None:
            found.unknown += 1
        else:
            found.jobs[each.state] += 1
            if each.state in (State.DEAD, State.CANCELLED) and len(found.failed) < 100:
                found.failed.append(each.id)
    return found


def cancel(broker: Broker, flow_id: str) -> list[str]:
    """Cancel the flow's jobs, the last ones first, so that none starts meanwhile; returns their ids. Raises JobNotFound.

    Jobs that were there before it, and stand for unique calls of it, go on.
    """
    known(broker.kv, flow_id)
    inspector, cancelled = broker.inspector, list[str]()
    for some in reversed(list(members(broker.kv, flow_id))):
        own = [job_id for job_id, _ in reversed(some)]
        with contextlib.suppress(Unsupported):  # whoever cannot look jobs up knows of no unique calls either
            views = inspector.find(own)
            own = [view.id for view in views if view and view.constraints and view.constraints.flow == flow_id]
        cancelled += inspector.cancel(own)
    return cancelled


def put_flow(kv: KV, outgoing: Outgoing, put: Callable[[], Collection[str]]) -> Collection[str]:
    """Record the flow, then store its jobs by `put`, together or not at all; returns the ids that were new."""
    flow_id, jobs = outgoing.flow, {job.id: job for job in outgoing.jobs}
    name = ", ".join(sorted({jobs[each].task for each in end_ids(outgoing.ends)}))
    add_members(kv, flow_id, list(jobs.values()))
    kv.write(NAMESPACE, [Entry(flow_id, msgspec.msgpack.encode(Plan(name, SYSTEM.now(), outgoing.ends, len(jobs))), KEPT)])
    try:
        return put()
    except BaseException:
        with contextlib.suppress(BrokerError):  # if this fails too, the flow is listed without jobs for a while
            kv.write(NAMESPACE, [Entry(flow_id, None)])
        raise


class Flows:
    """The flows of one client. Safe to use from any thread or event loop."""

    def __init__(self, broker: Broker, client: HandleClient) -> None:
        self._broker = broker
        self._client = client

    def find(self, flow_id: str) -> Flow[Any]:
        """Raises JobNotFound."""
        return Flow(self, flow_id, plan(self._broker.kv, flow_id).ends)

    def status(self, flow_id: str) -> FlowStatus:
        return status(self._broker, flow_id)

    def cancel(self, flow_id: str, reason: str) -> int:
        return audit.told_here(self._broker, "flow-cancel", cancel(self._broker, flow_id), reason, f" of flow {flow_id}")

    def handles(self, flow_id: str) -> list[Handle[Any]]:
        known(self._broker.kv, flow_id)
        return [Handle(self._client, *member) for some in members(self._broker.kv, flow_id) for member in some]

    def result(self, flow: Flow[R], timeout: Duration | None) -> R:
        check_may_block("result()", "`await` the flow")
        limit = None if timeout is None else seconds(timeout, "timeout")
        over = threading.Event()
        watch = _Watch(self._broker, self._client, flow, over.set)
        watch.begin()
        try:
            wait(over, watch.looks(limit))
        finally:
            watch.end()
        return cast(R, watch.value())

    async def aresult(self, flow: Flow[R]) -> R:
        import asyncio

        over = asyncio.Event()
        tell = from_threads(over.set)
        watch = await asyncio.to_thread(_Watch, self._broker, self._client, flow, tell)
        errors: list[Exception] = []

        def failed(error: Exception) -> None:
            errors.append(error)
            tell()

        watch.begin(failed)
        try:
            await coming(over.wait, watch.looks(None))
        finally:
            watch.end()
        if errors:
            raise again(errors[0])
        return cast(R, watch.value())


class _Watch:
    """Waits until all ends have succeeded, or any job that they depend on has failed."""

    def __init__(self, broker: Broker, client: HandleClient, flow: Flow[Any], tell: Callable[[], None]) -> None:
        self._flow = flow
        self._client = client
        self._tell = tell
        self._lock = threading.Lock()
        self._failed: Handle[Any] | None = None
        begun_with = plan(broker.kv, flow.id).size
        every = islice((each for some in members(broker.kv, flow.id) for each in some), begun_with)
        ends = end_ids(flow.ends)
        kinds = dict(zip(ends, flow.kinds, strict=False))
        named = dict(every)
        for each in ends:  # one whose record cannot be read is waited for all the same
            named.setdefault(each, "")
        self._handles: dict[str, Handle[Any]] = {
            job_id: Handle(client, job_id, task, kinds.get(job_id, Any)) for job_id, task in named.items()
        }
        self._ends, self._left = frozenset(ends), set(ends)
        self.end: Callable[[], None] = lambda: None

    def begin(self, failed: Callable[[Exception], None] | None = None) -> None:
        """As HandleClient.subscribe."""
        self.end = self._client.subscribe(list(self._handles.values()), self._arrived, failed)

    def _arrived(self, job_id: str) -> None:
        handle = self._handles[job_id]
        what = handle.known
        with self._lock:
            if isinstance(what, Result) and what.state is State.SUCCEEDED:
                self._left.discard(job_id)
            elif isinstance(what, Result) or job_id in self._ends:
                self._failed = self._failed or handle
            over = self._failed is not None or not self._left
        if over:
            self._tell()

    def looks(self, limit: float | None) -> Looks:
        def left() -> list[Handle[Any]]:
            return [handle for handle in self._handles.values() if handle.known is None]

        def late() -> tuple[str, Handle[Any]]:
            first = (left() or list(self._handles.values()))[0]  # parents come first: it waits for none of them
            return f"flow {self._flow.id} has not ended", first

        return Looks(limit, lambda: self._client.look(left()), late, at_once=not self._flow.kinds)

    def value(self) -> Any:
        return value_of(self._failed) if self._failed else self._made(self._flow.ends)

    def _made(self, ends: Ends) -> Any:
        if isinstance(ends, str):
            return value_of(self._handles[ends])
        return [self._made(each) for each in ends]
