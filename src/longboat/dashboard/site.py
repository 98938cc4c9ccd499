"""Site: one broker as the screens see it, with frequent lookups cached for a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from longboat.app import Longboat
from longboat.client.kept import Summary, summaries
from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.urls import shown
from longboat.core.views import ConsumerView, JobView
from longboat.dashboard.dead import KnownJobs
from longboat.dashboard.overheard import Overheard
from longboat.dashboard.plain import masked_text
from longboat.dashboard.ranges import FIRST, Range
from longboat.dashboard.words import moment
from longboat.errors import BrokerError, Unsupported
from longboat.observe import history
from longboat.observe.deploys import Deploy, deploys
from longboat.observe.drain import Drain, drains
from longboat.observe.history import FailureGroup, WorkerRecord
from longboat.observe.numbers import Numbers, numbers
from longboat.observe.pace import Pace, paces
from longboat.observe.tally import Slice, Tally
from longboat.operate import pauses
from longboat.operate.pauses import Kind
from longboat.operate.traces import Searched
from longboat.operate.why_slow import stop
from longboat.tasks.named import Named
from longboat.tasks.task import Task

R = TypeVar("R")

KEPT = 0.5
"""Seconds that a lookup is reused."""


class Site:
    """Safe to use from any thread."""

    def __init__(self, app: Longboat, name: str = "", no_code: str = "") -> None:
        self._app = app
        self.url = shown(app.url)
        self.name = name or "Longboat"
        self.registry = app.registry
        self.no_code = masked_text(no_code)
        """Why the app's code could not be imported; empty if it was, or if no app was named."""
        self._known: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self.overheard = Overheard(lambda: self.broker, self.workers)
        self._jobs = KnownJobs(lambda: self.broker, lambda queue: self.by_state(queue)[State.DEAD] or 0, self.overheard)

    @property
    def searched(self) -> Searched:
        """Where pages search for jobs."""
        return self.broker if self.can(Capability.LISTS) else self._jobs

    def found(self, job_id: str) -> JobView | None:
        """The job, or what was told of it where it cannot be looked up."""
        return (self.broker.inspector if self.can(Capability.LOOKUP) else self._jobs).find([job_id])[0]

    def not_found(self, job_id: str) -> tuple[str, str]:
        """What to say of a job that is not found, and of where it may be."""
        if self.can(Capability.LOOKUP):
            return f"There is no job {job_id!r}.", "It was never enqueued here, or it ended and is no longer kept."
        since = self.overheard.since
        told = f"since {moment(since)}, when this dashboard began to listen" if since else "yet"
        return (
            f"Nothing is known of job {job_id!r}: no worker told of it {told}.",
            "It is queued, is delayed, or ended before, or never was: this broker looks no job up by its id. "
            "With a store beside it (?results=redis://…) every job is found.",
        )

    @property
    def broker(self) -> Broker:
        return self._app.broker

    def task(self, name: str) -> Task[..., Any]:
        """The task of this name: as it is in the code here, or as workers have told of it, or by default."""
        return (self.registry.get(name) or Named(name, lambda: self._app.client)).present()

    def knows(self, name: str) -> bool:
        """Whether the task is in the code here, or a worker has told of it."""
        return self.registry.get(name) is not None or self._app.client.records.get(name) is not None

    def kept(self, name: str, look: Callable[[], R], keep: float = KEPT) -> R:
        """What `look` finds, or found at most `keep` seconds ago."""
        now = SYSTEM.monotonic()
        with self._lock:
            known = self._known.get(name)
        if known is not None and now - known[0] < keep:
            found: R = known[1]
            return found
        found = look()
        with self._lock:
            if len(self._known) > 200:
                self._known.clear()
            self._known[name] = now, found
        return found

    def kept_jobs(self) -> list[Summary | str]:
        """What the app's spool and outbox hold, where this process sees them."""
        return self.kept("kept", lambda: list(summaries(self._app.spool, self._app.outbox)))

    def forget(self) -> None:
        """Something was changed here: look again."""
        with self._lock:
            self._known.clear()
        self._jobs.forget()

    # --- what several screens show

    def counts(self) -> Numbers:
        return self.kept("counts", lambda: numbers(self.broker))

    def shown_counts(self) -> Numbers:
        """For screens, which say that they are not available: nothing is known if the broker cannot count."""
        return self.if_there(self.counts, Numbers())

    def by_state(self, queue: str = "") -> dict[State, int | None]:
        """None: not known."""
        counts = self.shown_counts()
        return {state: counts.total(state, [queue] if queue else []) for state in State}

    def consumers(self) -> list[ConsumerView]:
        return self.kept("consumers", lambda: self.listed(lambda: list(self.broker.inspector.consumers())))

    def looked_up(self, ids: Sequence[str]) -> list[JobView | None]:
        """For screens that show more where a job can be looked up: None where the broker cannot."""
        nothing: list[JobView | None] = [None] * len(ids)
        return self.if_there(lambda: self.broker.inspector.find(ids), nothing)

    @property
    def noted(self) -> bool:
        """Whether the broker keeps entries: if not, there are no workers, failures, flows, schedules and pauses to show."""
        return self.can(Capability.KV)

    @property
    def counted(self) -> bool:
        """Whether the broker can tell how many jobs it has."""
        return self.can(Capability.COUNTS) or self.can(Capability.QUEUE_LENGTHS)

    @property
    def movable(self) -> bool:
        """Whether single jobs can be taken out of their queue, to be deleted or moved."""
        return self.can(Capability.TRANSFER)

    @property
    def listable(self) -> bool:
        """Whether jobs in every state can be listed."""
        return self.can(Capability.LISTS)

    def can_bulk(self, verb: str) -> bool:
        """Whether jobs for this bulk action can be found and changed."""
        if verb == "cancel":
            return self.can(Capability.LISTS) or self.can(Capability.REVOKE_ALL)
        return verb == "retry" or self.can(Capability.TRANSFER)

    def can(self, capability: Capability) -> bool:
        """Whether the broker can do it, as far as is known."""
        try:
            return capability in self.broker.capabilities
        except BrokerError:  # a manager is down, which says nothing about what its store supports
            return True

    def workers(self) -> list[WorkerRecord]:
        return self.kept("workers", lambda: self.listed(lambda: history.workers(self.broker.kv)))

    def paused(self) -> dict[Kind, set[str]]:
        return self.kept("paused", lambda: self.if_there(lambda: pauses.paused(self.broker.kv), pauses.nothing()))

    def failures(self) -> list[FailureGroup]:
        return self.kept("failures", lambda: self.listed(lambda: history.failure_groups(self.broker.kv)))

    def deploys(self) -> list[Deploy]:
        """Newest first."""
        return self.kept("deploys", lambda: self.listed(lambda: deploys(self.broker.kv)), 2.0)

    def lately(self, span: Range = FIRST) -> Slice:
        """Outcomes of attempts in this range, by (queue, task)."""
        since = SYSTEM.now() - span.length

        def look() -> Slice:
            return history.recent(self.broker.kv, since, SYSTEM.now() + 1, span.grain)

        return self.kept(f"lately {span.name}", lambda: self.if_there(look, Slice()), span.keep)

    def pace(self, queue: str = "") -> Pace:
        """Attempts per second in the last ten seconds, of this queue; empty: of all."""
        found = self.kept(
            "pace", lambda: self.if_there(lambda: paces(self.broker.kv, SYSTEM.now()), dict[tuple[str, str], Pace]()), 1.0
        )
        total = Pace()
        for (its_queue, _), pace in found.items():
            if queue in ("", its_queue):
                total.add(pace)
        return total

    def drains(self) -> dict[str, Drain]:
        """By queue: how it fills and empties."""

        def look() -> dict[str, Drain]:
            return stop(self.broker, drains(self.broker, self.shown_counts(), SYSTEM.now(), self.lately))

        return self.kept("drains", look, 1.0)

    def tally(self, queues: Collection[str] = (), task: str = "", span: Range = FIRST) -> Tally:
        """Outcomes of the attempts in this range: in these queues (empty: in all), of this task (empty: of all)."""
        total = Tally()
        for (its_queue, its_task), tally in self.lately(span).items():
            if (not queues or its_queue in queues) and task in ("", its_task):
                total.add(tally)
        return total

    def tasks(self, span: Range = FIRST) -> list[str]:
        """The names of all known tasks: in the app's code, of workers, and of attempts that ended in this range."""
        names = set(self.registry.tasks) | {task for _, task in self.lately(span)}
        for record in self.workers():
            names.update(record.tasks)
        return sorted(names)

    def queues(self, span: Range = FIRST) -> list[str]:
        """The names of all known queues: with jobs, of workers, paused, and of attempts that ended in this range."""
        names = self.shown_counts().queues | {queue for queue, _ in self.lately(span)} | self.paused()["queue"]
        for record in self.workers():
            names.update(record.queues)
        return sorted(names)

    @staticmethod
    def listed(look: Callable[[], list[R]]) -> list[R]:
        """What `look` finds; nothing if the broker does not support it."""
        return Site.if_there(look, [])

    @staticmethod
    def if_there(look: Callable[[], R], otherwise: R) -> R:
        """What `look` finds; `otherwise` if the broker does not support it."""
        try:
            return look()
        except Unsupported:
            return otherwise
