"""What must be true of a broker's jobs: the contract once more, as plain as can be, for the model to be compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from longboat.contract.broker import DEAD_KEPT, FORGOTTEN_AFTER, Consumer, Lease
from longboat.core.constraints import JobLimit
from longboat.core.job import (
    DEFAULT_KEEP,
    ENDED,
    Cancelled,
    Dead,
    Done,
    Job,
    Outcome,
    Park,
    Release,
    Retry,
    State,
    order_of,
)
from longboat.testing.clock import FakeClock


@dataclass(eq=False, repr=False)
class Known:
    """What must be true of a job."""

    job: Job
    place: int
    expires: float
    state: State = State.READY
    due: float = 0.0
    attempts: int = 0
    failures: int = 0
    worker_deaths: int = 0
    ended: float = 0.0
    holder: Worker | None = None
    noted: bool = False
    unwanted: bool = False
    result: bytes = b""
    pending: set[str] = field(default_factory=set)
    """Parents that have not succeeded."""
    inputs: dict[str, bytes] = field(default_factory=dict)
    blocked: bool = False
    """It waits for a limit."""
    spot: int | None = None
    """Where it stands, as the broker says, if turns decide that."""

    def __repr__(self) -> str:
        return f"<{self.state} job {self.job.id}>"

    @property
    def rank(self) -> tuple[int, int]:
        return -self.job.priority, self.place if self.spot is None else self.spot

    @property
    def parked(self) -> bool:
        return self.state is State.WAITING and not self.pending and not self.blocked

    @property
    def limits(self) -> list[JobLimit]:
        return self.job.constraints.limits if self.job.constraints else []


@dataclass(eq=False, repr=False)
class Worker:
    """A consumer, and what must be true of it."""

    consumer: Consumer
    queue: str
    tasks: frozenset[str]
    heard: float
    held: dict[Lease, Known] = field(default_factory=dict)
    paused: bool = False
    paused_tasks: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<worker {self.consumer.id} of {self.queue!r}, tasks {sorted(self.tasks)}, {len(self.held)} leases>"


class Expected:
    """All jobs and workers, and what each thing that happens makes of them."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.jobs: dict[str, Known] = {}
        self.remembered: dict[str, float] = {}
        """Ids chosen by callers whose jobs are gone, and until when they are known."""
        self.workers: list[Worker] = []
        self.stale: list[tuple[Worker, Lease]] = []
        self.places = 0

    def know(self, jobs: Iterable[Job]) -> None:
        now = self.clock.now()
        for job in jobs:
            self.places += 1
            expires = math.inf if job.expires is None else now + job.expires
            self.jobs[job.id] = known = Known(job, self.places, expires)
            for parent in job.constraints.after if job.constraints else ():
                if self.jobs[parent].state is State.SUCCEEDED:
                    known.inputs[parent] = self.jobs[parent].result
                else:
                    known.pending.add(parent)
            if known.pending:
                known.state, known.due = State.WAITING, math.inf
            else:
                self.place(known, job.delay)

    def ready(self, queue: str, tasks: frozenset[str] = frozenset()) -> list[Known]:
        def wanted(known: Known) -> bool:
            parked = known.parked and known.job.task in tasks
            return known.job.queue == queue and (known.state is State.READY or parked)

        return sorted(filter(wanted, self.jobs.values()), key=lambda known: known.rank)

    def next(self, worker: Worker, n: int) -> list[Known]:
        return [] if worker.paused else self.ready(worker.queue, worker.tasks - worker.paused_tasks)[:n]

    def place(self, known: Known, delay: float) -> None:
        now = self.clock.now()
        known.holder, known.due = None, now + delay
        if known.unwanted or known.expires <= now:
            self.end(known, State.CANCELLED, failed=True)
        else:
            known.state = State.SCHEDULED if delay > 0 else State.READY

    def settled(self, known: Known, outcome: Outcome) -> None:
        known.holder = None
        match outcome:
            case Done(result):
                self.count_attempt(known)
                known.result = result
                self.end(known, State.SUCCEEDED)
            case Retry(delay):
                self.count_attempt(known, failed=True)
                known.worker_deaths = 0
                self.place(known, delay)
            case Dead(_, counted):
                if counted:
                    self.count_attempt(known)
                self.end(known, State.DEAD, failed=True)
            case Cancelled():
                self.end(known, State.CANCELLED, failed=True)
            case Release(delay):
                self.place(known, delay)
            case Park(patience):
                self.place(known, 0.0)
                if known.state is State.READY:
                    known.state, known.due = State.WAITING, self.clock.now() + patience

    def count_attempt(self, known: Known, failed: bool = False) -> None:
        known.attempts += 1
        known.failures += failed
        known.expires = math.inf

    def lost(self, worker: Worker, died: bool = True) -> None:
        self.workers.remove(worker)
        for lease, known in worker.held.items():
            self.stale.append((worker, lease))
            if died and known.noted:
                self.count_attempt(known, failed=True)
            known.worker_deaths += died
            self.place(known, 0.0)
        worker.held = {}

    def end(self, known: Known, state: State, failed: bool = False) -> None:
        known.state, known.ended, known.holder, known.unwanted = state, self.clock.now(), None, False
        known.failures += failed
        known.blocked = False
        if state is State.SUCCEEDED:
            self.let_go_of_followers(known)
            if known.job.keep == 0:
                self.forget(known, known.ended)

    def let_go_of_followers(self, parent: Known) -> None:
        for known in self.jobs.values():
            if parent.job.id in known.pending and known.state not in ENDED:
                known.inputs[parent.job.id] = parent.result
                known.pending.remove(parent.job.id)
                if not known.pending:
                    self.place(known, known.job.delay)

    def over_at(self, known: Known) -> float:
        if known.state is State.DEAD:
            return known.ended + DEAD_KEPT
        return known.ended + (known.job.keep if known.state is State.SUCCEEDED else known.job.keep or DEFAULT_KEEP)

    def forget_what_is_over(self) -> None:
        now = self.clock.now()
        for known in list(self.jobs.values()):
            if known.state in ENDED and self.over_at(known) <= now:
                self.forget(known, known.ended)

    def forget(self, known: Known, since: float) -> None:
        del self.jobs[known.job.id]
        if order_of(known.job.id) is None:
            self.remembered[known.job.id] = since + FORGOTTEN_AFTER
