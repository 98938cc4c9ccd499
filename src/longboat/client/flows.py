"""Flows as the calling side sees them: stored together, noted on the board, waited for as a whole."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar, cast

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.kv import KV, Entry
from longboat.core import codec
from longboat.core.clock import SYSTEM, Duration, seconds
from longboat.core.job import Job, Result, State, new_id
from longboat.core.views import JobView
from longboat.errors import BrokerError, JobNotFound, ResultTimeout, Undecodable
from longboat.tasks.flow import Ends, Flow, FlowStatus, Plan, end_ids
from longboat.tasks.handle import Handle

R = TypeVar("R")

NAMESPACE = "flow"
MEMBERS = "flow.jobs:"
"""The space of a flow's members is this and the flow's id; their notes are in the order in which they joined."""
KEPT = 30 * 86400.0
"""Seconds that a flow is known for after it was enqueued, or a job joined it."""
WAKE_UP = 1.0
"""Seconds between wake-ups of a thread that waits for a result."""
TOGETHER = 1000
"""Members in one note; jobs in one look."""

Member = tuple[str, str]
"""A job's id and its task."""


def note_members(kv: KV, flow_id: str, jobs: Sequence[Job]) -> None:
    """These jobs belong to the flow. Noted before they are stored, so that none is missed."""
    for start in range(0, len(jobs), TOGETHER):
        members: list[Member] = [(job.id, job.task) for job in jobs[start : start + TOGETHER]]
        kv.write(MEMBERS + flow_id, [Entry(new_id(), msgspec.msgpack.encode(members), KEPT)])


def members(kv: KV, flow_id: str) -> Iterator[list[Member]]:
    """The flow's jobs in the order in which they joined, some at a time. Raises Undecodable."""
    after = ""
    while entries := kv.entries(MEMBERS + flow_id, after=after, limit=20):
        for _, value in entries:
            yield codec.decode(value, list[Member])
        after = entries[-1][0]


def plan(kv: KV, flow_id: str) -> Plan:
    """Raises JobNotFound, and Undecodable for one that cannot be read here."""
    value = kv.read(NAMESPACE, [flow_id])[0]
    if value is None:
        raise JobNotFound(f"no flow {flow_id!r}: it was never enqueued here, or it was forgotten since")
    found: Plan = codec.decode(value, Plan)
    return found


def newest(kv: KV, limit: int) -> list[tuple[str, Plan]]:
    """The ids and plans of the newest flows, newest first. Looks at all that are known: their keys are in order of time.

    What another version wrote, or nobody can read, is left out.
    """
    found: list[tuple[str, bytes]] = []
    after = ""
    while entries := kv.entries(NAMESPACE, after=after):
        found = [*found, *entries][-limit:]
        after = entries[-1][0]
    plans: list[tuple[str, Plan]] = []
    for flow_id, value in reversed(found):
        with contextlib.suppress(Undecodable):
            plans.append((flow_id, codec.decode(value, Plan)))
    return plans


def status(broker: Broker, flow_id: str) -> FlowStatus:
    """Raises JobNotFound."""
    plan(broker.kv, flow_id)
    jobs: Counter[State] = Counter()
    failed: list[str] = []
    for some in members(broker.kv, flow_id):
        for (job_id, _), view in zip(some, broker.inspector.find([job_id for job_id, _ in some]), strict=True):
            state = view.state if view else State.SUCCEEDED
            jobs[state] += 1
            if state in (State.DEAD, State.CANCELLED) and len(failed) < 100:
                failed.append(job_id)
    return FlowStatus(jobs, failed)


def cancel(broker: Broker, flow_id: str) -> int:
    """Last ones first, so that none starts meanwhile. Raises JobNotFound."""
    plan(broker.kv, flow_id)
    return sum(
        len(broker.inspector.cancel([job_id for job_id, _ in reversed(some)]))
        for some in reversed(list(members(broker.kv, flow_id)))
    )


class Caller(Protocol):
    """What flows need of the client that they are part of."""

    broker: Broker

    def store(self, jobs: list[Job]) -> None: ...
    def subscribe(self, handles: Sequence[Handle[Any]], sink: Callable[[str], None]) -> Callable[[], None]: ...
    def handle(self, job_id: str, task: str, kind: Any = Any) -> Handle[Any]: ...
    def value(self, handle: Handle[Any]) -> Any: ...


class Flows:
    """The flows of one client. Safe to use from any thread or loop."""

    def __init__(self, client: Caller) -> None:
        self._client = client

    def enqueue(self, flow_id: str, jobs: list[Job], ends: Ends, kinds: list[Any]) -> Flow[Any]:
        kv = self._client.broker.kv
        last = {job.id: job.task for job in jobs}
        name = ", ".join(sorted({last[each] for each in end_ids(ends)}))
        note_members(kv, flow_id, jobs)
        value = msgspec.msgpack.encode(Plan(name, SYSTEM.now(), ends, len(jobs)))
        kv.write(NAMESPACE, [Entry(flow_id, value, KEPT)])
        try:
            self._client.store(jobs)
        except BaseException:
            with contextlib.suppress(BrokerError):  # else it is listed for a while, without jobs
                kv.write(NAMESPACE, [Entry(flow_id, None)])
            raise
        return Flow(self, flow_id, ends, kinds)

    def find(self, flow_id: str) -> Flow[Any]:
        """Raises JobNotFound."""
        return Flow(self, flow_id, plan(self._client.broker.kv, flow_id).ends)

    def flow_status(self, flow_id: str) -> FlowStatus:
        return status(self._client.broker, flow_id)

    def flow_cancel(self, flow_id: str) -> int:
        return cancel(self._client.broker, flow_id)

    def flow_handles(self, flow_id: str) -> list[Handle[Any]]:
        kv = self._client.broker.kv
        plan(kv, flow_id)
        return [self._client.handle(*member) for some in members(kv, flow_id) for member in some]

    # --- results

    def flow_result(self, flow: Flow[R], timeout: Duration | None) -> R:
        limit = None if timeout is None else seconds(timeout, "timeout")
        over = threading.Event()
        watch = _Watch(self._client, flow, over.set)
        try:
            if not waited(over, limit):
                raise ResultTimeout(f"flow {flow.id} has not ended within {limit:g} s; it goes on")
        finally:
            watch.end()
        return cast(R, watch.value())

    async def aflow_result(self, flow: Flow[R]) -> R:
        import asyncio

        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed, and with it who waited
                loop.call_soon_threadsafe(over.set)

        watch = await asyncio.to_thread(_Watch, self._client, flow, tell)
        try:
            await over.wait()
        finally:
            watch.end()
        return cast(R, watch.value())


class _Watch:
    """Waits until all ends have succeeded, or any job that they depend on has not."""

    def __init__(self, client: Caller, flow: Flow[Any], tell: Callable[[], None]) -> None:
        self._client = client
        self._flow = flow
        self._tell = tell
        self._lock = threading.Lock()
        self._failed: Handle[Any] | None = None
        begun_with = plan(client.broker.kv, flow.id).size
        every = islice((each for some in members(client.broker.kv, flow.id) for each in some), begun_with)
        ends = end_ids(flow.ends)
        kinds = dict(zip(ends, flow.kinds, strict=False))
        self._handles = {job_id: client.handle(job_id, task, kinds.get(job_id, Any)) for job_id, task in every}
        self._ends = set(ends)
        self._left = set(ends)
        self.end = client.subscribe(list(self._handles.values()), self._arrived)

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

    def value(self) -> Any:
        return self._client.value(self._failed) if self._failed else self._made(self._flow.ends)

    def _made(self, ends: Ends) -> Any:
        if isinstance(ends, str):
            return self._client.value(self._handles[ends])
        return [self._made(each) for each in ends]


def waited(over: threading.Event, limit: float | None) -> bool:
    """Wait in pieces: a Ctrl-C that comes just before the thread blocks is heeded only when it wakes up."""
    until = None if limit is None else SYSTEM.monotonic() + limit
    while True:
        left = WAKE_UP if until is None else min(WAKE_UP, until - SYSTEM.monotonic())
        if over.wait(max(0.0, left)):
            return True
        if until is not None and SYSTEM.monotonic() >= until:
            return False


def failed_parent(broker: Broker, job_id: str) -> JobView | None:
    """The dead or cancelled job that this one waits for, if there is one, however far up."""
    seen, some = {job_id}, [job_id]
    while some:
        views = [view for view in broker.inspector.find(some[:TOGETHER]) if view]
        for view in views:
            if view.id != job_id and view.state in (State.DEAD, State.CANCELLED):
                return view
        above = (
            parent for view in views if view.constraints and view.state is State.WAITING for parent in view.constraints.after
        )
        some = some[TOGETHER:] + [parent for parent in dict.fromkeys(above) if parent not in seen]
        seen.update(some)
    return None
