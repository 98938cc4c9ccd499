"""What clauses are written with: a stage that closes what it opened, jobs, and the few things that are checked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeVar

from longboat.contract.broker import Broker, Consumer, Lease, Settlement, Token
from longboat.contract.optional import tidy_of
from longboat.contract.results import Listener
from longboat.core.job import MESSAGE_VERSION, Done, Failure, Job, Outcome, State, new_id
from longboat.core.views import JobView
from longboat.errors import BrokerUnavailable

T = TypeVar("T")

LONG = 60.0
"""A lease that no clause outlives."""

TIDY_EVERY = 0.05
"""Seconds."""


@dataclass
class Limits:
    """Seconds that clauses go by: generous, since a busy machine breaks no promise."""

    patient: float = 5.0
    """What must come is waited for so long."""
    wait: float = 3.0
    """A call that should return early is told to wait so long."""
    prompt: float = 1.5
    """Promptly, and at once: sooner than this."""
    sweep: float = 2.0
    """From a lease's end to its job's being ready again."""
    churn: float = 15.0
    """All jobs of a clause about many threads have ended by then."""


limits = Limits()

BOOM = Failure("builtins.ValueError", "it went boom", "Traceback: boom", attempt=1, at=1.0, worker="w")


class _Closes(Protocol):
    def close(self) -> None: ...


class Stage:
    """One clause's store, with a first client open. Whatever is opened by it is closed at the end.

    A broker that is to be tidied is tidied all the time, as the maintenance loop of a worker would.
    """

    def __init__(
        self,
        open: Callable[[], Broker],
        inject: Callable[[bytes, str], None],
        connect: Callable[[], Any] | None = None,
    ) -> None:
        self._new = open
        self._connect = connect
        self._opened: list[_Closes] = []
        self.inject = inject
        self.broker = self.another()
        self._over = threading.Event()
        self._tidying = meanwhile(self._tidy)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        try:
            self._tidying()
        finally:
            for each in reversed(self._opened):
                each.close()

    def _tidy(self) -> None:
        tidy = tidy_of(self.broker)
        while tidy is not None and not self._over.wait(TIDY_EVERY):
            with contextlib.suppress(BrokerUnavailable):
                check(tidy.tidy(TIDY_EVERY) >= 0.0, "there may be more to tidy before now")

    def another(self) -> Broker:
        """Another client of the same store."""
        broker = self._new()
        self._opened.append(broker)
        return broker

    def connection(self) -> Any:
        """A connection of a program's own to the database of the store."""
        if self._connect is None:
            raise AssertionError("the harness of a broker that declares TRANSACTIONAL needs a method `connect`")
        self.broker.inspector.counts()  # makes the tables
        connection = self._connect()
        self._opened.append(connection)
        return connection

    def consumer(
        self,
        *queues: str,
        lease: float = LONG,
        tasks: Collection[str] = (),
        name: str = "",
        of: Broker | None = None,
        every: bool = False,
    ) -> Consumer:
        """A consumer of these queues (none named: of "q"; with `every`: of every queue)."""
        names = () if every else queues or ("q",)
        consumer = (of or self.broker).consumer(names, lease=lease, tasks=tasks, name=name)
        self._opened.append(consumer)
        return consumer

    def listener(self, *ids: str, of: Broker | None = None) -> Listener:
        listener = (of or self.broker).results.listen()
        self._opened.append(listener)
        listener.watch(ids)
        return listener

    def put(self, *jobs: Job, token: Token | None = None) -> list[str]:
        return self.broker.put(jobs, token=token)

    def ended(self, outcome: Outcome, **fields: Any) -> Job:
        """A job that was put, received and settled so."""
        made = job(**fields)
        self.put(made)
        consumer = self.consumer(made.queue)
        settle(consumer, take(consumer), outcome)
        return made

    def view(self, job_id: str) -> JobView:
        view = self.broker.inspector.find([job_id])[0]
        if view is None:
            raise AssertionError(f"job {job_id} is not known")
        return view

    def state(self, job_id: str) -> State:
        return self.view(job_id).state


def job(id: str = "", **fields: Any) -> Job:
    """A job with a generated id, in queue "q", unless said otherwise."""
    named = {"task": "t", "payload": b"\x80", "queue": "q", **fields}
    return Job(MESSAGE_VERSION, id or new_id(), **named)


def some(n: int, **fields: Any) -> list[Job]:
    return [job(**fields) for _ in range(n)]


def ids(things: Iterable[Lease | Job | JobView]) -> list[str]:
    return [thing.job.id if isinstance(thing, Lease) else thing.id for thing in things]


def take(consumer: Consumer) -> Lease:
    """The next job's lease, which must come."""
    return take_all(consumer, 1)[0]


def take_all(consumer: Consumer, n: int) -> list[Lease]:
    """The next `n` leases, which must come, in as many calls as it takes."""
    leases: list[Lease] = []
    end = time.monotonic() + limits.patient
    while len(leases) < n and (left := end - time.monotonic()) > 0:
        leases += consumer.receive(n - len(leases), wait=left)
    check(len(leases) == n, f"{n} job(s) were to be received within {limits.patient:g} s, {len(leases)} were")
    return leases


def nothing(consumer: Consumer, wait: float = 0.0, why: str = "nothing was to be received") -> None:
    same(ids(consumer.receive(10, wait=wait)), [], why)


def settle(consumer: Consumer, lease: Lease, outcome: Outcome | None = None) -> None:
    """Settle a lease that the consumer holds: with Done unless said otherwise."""
    refused = consumer.settle([Settlement(lease, outcome or Done(b"\xc0"))])
    check(not refused, f"the settlement of a lease that is held was refused: {outcome}")


def check(kept: bool, otherwise: str) -> None:
    if not kept:
        raise AssertionError(otherwise)


def same(actual: object, expected: object, what: str) -> None:
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def eventually(probe: Callable[[], bool], what: str, within: float | None = None) -> None:
    within = limits.patient if within is None else within
    end = time.monotonic() + within
    while not probe():
        check(time.monotonic() < end, f"not within {within:g} s: {what}")
        time.sleep(0.005)


def meanwhile(call: Callable[[], T]) -> Callable[[], T]:
    """Do it in another thread; the function returned waits for it, and gives or raises what came of it."""
    values: list[T] = []
    errors: list[Exception] = []

    def body() -> None:
        try:
            values.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def join() -> T:
        thread.join(4 * limits.patient + limits.churn)
        check(not thread.is_alive(), "a call hangs")
        if errors:
            raise errors[0]
        return values[0]

    return join


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and when (monotonic) it returned."""
    value = call()
    return value, time.monotonic()


def best(tries: int, measure: Callable[[], float], limit: float, what: str) -> None:
    """At least one of several tries takes no longer than the limit: a busy machine may spoil the others."""
    figures: Sequence[float] = []
    for _ in range(tries):
        figures = [*figures, measure()]
        if figures[-1] <= limit:
            return
    raise AssertionError(f"{what}: the best of {tries} tries took {min(figures) * 1000:.1f} ms, {limit * 1000:g} allowed")
