"""What the memory broker keeps of one job, and of one consumer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from longboat.brokers.memory.shelf import Key
from longboat.brokers.memory.usage import LimitUsage
from longboat.core.constraints import Constraints
from longboat.core.job import DEFAULT_KEEP, DEFAULT_QUEUE, FAILURES_KEPT, Failure, Result, State
from longboat.core.views import result_of

UNCONSTRAINED = Constraints()


@dataclass(eq=False, slots=True)
class Holder:
    """A consumer, as the store knows it."""

    id: str
    name: str
    queues: list[str]
    tasks: frozenset[str]
    lease: float
    deadline: float
    alive: bool = True
    cancelled: int = 0
    """Leases of which the cancellation was requested, ever."""
    held: dict[int, Record] = field(default_factory=dict)
    """What it leases, by the lease's token: a lease that is not here is not its own, or no longer."""


@dataclass(eq=False, slots=True)
class Record:
    """A job's message, and all that changes about it."""

    id: str
    message: bytes
    serial: int
    """Its place among those of the same priority."""
    queue: str = DEFAULT_QUEUE
    task: str = ""
    priority: int = 0
    keep: float = DEFAULT_KEEP
    expires: float = math.inf
    """When it is cancelled, if it waits; infinite once an attempt counts."""
    state: State = State.READY
    due: float = 0.0
    """When a scheduled one becomes ready, or a waiting one dead."""
    key: Key = ()
    alarm: Key = ()
    attempts: int = 0
    failures: list[Failure] = field(default_factory=list)
    result: bytes | None = None
    started: float | None = None
    ended: float = 0.0
    holder: Holder | None = None
    token: int = 0
    has_started: bool = False
    """Its consumer said so."""
    worker_deaths: int = 0
    cancel_requested: bool = False
    """While it was leased."""
    parked: Failure | None = None
    constraints: Constraints = UNCONSTRAINED
    place: float = 0.0
    """Where it stands among those of its priority; of equal ones the one with the lower serial is first."""
    delay: float = 0.0
    pending: set[str] | None = None
    """Parents that have not succeeded yet."""
    inputs: dict[str, bytes] | None = None
    blocked: LimitUsage | None = None
    """What it waits for."""

    def fail(self, *failures: Failure) -> None:
        self.failures = [*self.failures, *failures][-FAILURES_KEPT:]

    def outcome(self) -> Result:
        return result_of(
            self.id, self.state, value=self.result, failures=self.failures, task=self.task, attempts=self.attempts
        )

    def ready_key(self) -> Key:
        return (-self.priority, self.place, self.serial, self)

    def state_key(self) -> Key:
        """Its place in the order that jobs of its state are read in."""
        if self.state is State.READY:
            return self.ready_key()
        if self.state is State.SCHEDULED:
            return (self.due, self.serial, self)
        if self.state.ended:
            return (-self.ended, -self.serial, self)
        return (0, self.serial, self)
