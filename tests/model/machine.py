"""A broker beside a model of it: hypothesis plays callers, workers and an operator, and both must agree throughout.

Needs hypothesis, so only tests import this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from longboat.contract.broker import Broker, Lease, Settlement
from longboat.core.job import (
    ENDED,
    MESSAGE_VERSION,
    Cancelled,
    Dead,
    Done,
    Failure,
    Job,
    Outcome,
    Park,
    Release,
    Retry,
    State,
    new_id,
)
from longboat.testing.clock import FakeClock
from tests.model.expected import Expected, Known, Worker

QUEUES = ("a", "a", "b")
TASKS = ("known", "new")
BOOM = Failure("Boom", "boom")
LEASE = 100.0
FIELDS = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        "task": st.sampled_from(("known", "known", "new")),
        "priority": st.integers(-1, 1),
        "delay": st.sampled_from((0.0, 0.0, 0.0, 5.0, 60.0)),
        "expires": st.sampled_from((None, None, 20.0, 100.0)),
        "keep": st.sampled_from((3600.0, 40.0, 0.0)),
        "constrained": st.integers(0, 9),  # for who makes jobs with constraints of it
    }
)
ODD = 0.1873
"""Added to every step of time, so that nothing falls due at the very moment of a step."""


class BrokerMachine(RuleBasedStateMachine):
    """Give it `new_broker`, which makes a broker in a new, empty store going by the clock."""

    new_broker: Callable[[FakeClock], Broker]

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.broker = type(self).new_broker(self.clock)
        self.expected = Expected(self.clock)
        self.janitor = self.broker.consumer(["nobody's"], lease=1e9)
        self.number = 0
        self.last_put: list[Job] = []

    def teardown(self) -> None:
        for worker in self.expected.workers:
            worker.consumer.close()
        self.janitor.close()
        self.broker.close()

    # --- callers

    @initialize(many=st.lists(FIELDS, min_size=4, max_size=8))
    def begin(self, many: list[dict[str, Any]]) -> None:
        for fields in many:
            self.put(1, fields)
        self._register("a", TASKS)
        for queue in QUEUES:
            self._register(queue, ["known"])

    @rule(n=st.integers(1, 4), fields=FIELDS)
    def put(self, n: int, fields: dict[str, Any]) -> None:
        self._put([self._job(**fields) for _ in range(n)])

    def _job(self, **fields: Any) -> Job:
        fields.pop("constrained", None)
        return Job(MESSAGE_VERSION, new_id(), payload=b"\x80", **fields)

    def _put(self, jobs: list[Job]) -> None:
        self.number += 1
        assert self.broker.put(jobs, token=("client", self.number)) == [job.id for job in jobs]
        self.expected.know(jobs)
        self.last_put = jobs

    @rule(chosen=st.integers(1, 3), queue=st.sampled_from(QUEUES))
    def put_a_chosen_id(self, chosen: int, queue: str) -> None:
        job = Job(MESSAGE_VERSION, f"chosen-{chosen}", "known", b"\x80", queue=queue, keep=40.0)
        known = job.id in self.expected.jobs or self.expected.remembered.get(job.id, 0.0) > self.clock.now()
        assert self.broker.put([job, job]) == ([] if known else [job.id])
        if not known:
            self.expected.know([job])

    @precondition(lambda self: self.last_put)
    @rule()
    def put_the_last_again(self) -> None:
        assert self.broker.put(self.last_put, token=("client", self.number)) == [job.id for job in self.last_put]

    # --- workers

    @rule(queue=st.sampled_from(QUEUES), tasks=st.sets(st.sampled_from(TASKS)))
    def register(self, queue: str, tasks: set[str]) -> None:
        if len(self.expected.workers) < 6:
            self._register(queue, tasks)

    @rule(data=st.data(), n=st.integers(1, 4))
    def receive(self, data: st.DataObject, n: int) -> None:
        self._receive(self._a_worker(data, lambda worker: bool(self.expected.next(worker, 1))), n)

    @rule(data=st.data(), rounds=st.lists(st.tuples(st.integers(1, 4), FIELDS), min_size=1, max_size=5))
    def work(self, data: st.DataObject, rounds: list[tuple[int, dict[str, Any]]]) -> None:
        """What a worker does all day; there is always something to do."""
        for n, fields in rounds:
            worker = self._a_worker(data, lambda worker: bool(self.expected.next(worker, 1)))
            if not self.expected.next(worker, 1):
                self.put(n, fields | {"queue": worker.queue, "delay": 0.0})
            self._receive(worker, n)
            if worker.held:
                self._settle(data, worker)

    def _receive(self, worker: Worker, n: int) -> None:
        leases = worker.consumer.receive(n, wait=0.0)
        wanted = self.expected.next(worker, n)
        assert [lease.job for lease in leases] == [known.job for known in wanted]
        for lease, known in zip(leases, wanted, strict=True):
            self._hold(worker, lease, known)

    def _hold(self, worker: Worker, lease: Lease, known: Known) -> None:
        facts = known.attempts + 1, known.worker_deaths, known.failures
        assert (lease.attempt, lease.worker_deaths, lease.failures) == facts
        known.state, known.holder, known.noted = State.RUNNING, worker, False
        worker.held[lease] = known

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        worker = self._a_worker(data, _is_busy)
        leases = self._some(data, worker)
        assert worker.consumer.settle([], started=leases) == []
        for lease in leases:
            worker.held[lease].noted = True

    @precondition(lambda self: self._held())
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self._settle(data, self._a_worker(data, _is_busy))

    def _settle(self, data: st.DataObject, worker: Worker) -> None:
        leases = self._some(data, worker)
        settlements = [Settlement(lease, self._an_outcome(data, worker.held[lease].job)) for lease in leases]
        old = [lease for _, lease in self.expected.stale]
        stale = data.draw(st.lists(st.sampled_from(old), max_size=1)) if old else []
        batch = [*(Settlement(lease, Done(b"stale")) for lease in stale), *settlements]
        assert worker.consumer.settle(batch, started=leases if data.draw(st.booleans()) else ()) == stale
        self._settled(worker, settlements)

    def _settled(self, worker: Worker, settlements: Iterable[Settlement]) -> None:
        for settlement in settlements:
            known = worker.held.pop(settlement.lease)
            self.expected.stale.append((worker, settlement.lease))
            self.expected.settled(known, settlement.outcome)

    @precondition(lambda self: self.expected.stale)
    @rule(data=st.data())
    def settle_what_is_stale(self, data: st.DataObject) -> None:
        worker, lease = data.draw(st.sampled_from(self.expected.stale))
        other = data.draw(st.sampled_from([worker, *self.expected.workers]))
        assert other.consumer.settle([Settlement(lease, self._an_outcome(data, lease.job))]) == [lease]
        assert other.consumer.settle([], started=[lease]) == [lease]

    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        self._beat(self._a_worker(data, _is_busy))

    def _beat(self, worker: Worker) -> None:
        pulse = worker.consumer.extend()
        assert pulse.alive
        assert set(pulse.cancelled) == {known.job.id for known in worker.held.values() if known.unwanted}
        worker.heard = self.clock.now()

    @rule(data=st.data(), how=st.sampled_from(("close", "evict", "evict")))
    def leave(self, data: st.DataObject, how: str) -> None:
        worker = self._a_worker(data, _is_busy)
        if how == "close":
            worker.consumer.close()
            self.expected.lost(worker, died=False)
        else:
            assert self.broker.evict(worker.consumer.id, BOOM) == len(worker.held)
            self.expected.lost(worker)
        assert self.broker.evict(worker.consumer.id, BOOM) == 0
        assert not worker.consumer.extend().alive
        assert worker.consumer.receive(1, wait=0.0) == []

    # --- time

    @rule(seconds=st.sampled_from((1.0, 6.0, 13.0, 55.0, 55.0, 120.0)), silent=st.sampled_from((False, False, True)))
    def time_passes(self, seconds: float, silent: bool) -> None:
        for worker in () if silent else self.expected.workers:
            self._beat(worker)
        self._advance(seconds)

    def _advance(self, seconds: float) -> None:
        self.clock.advance(seconds + ODD)
        self.janitor.receive(1, wait=0.0)
        self._reap()
        now = self.clock.now()
        for known in self.expected.jobs.values():
            if known.state not in ENDED and known.state is not State.RUNNING and known.expires <= now:
                self.expected.end(known, State.CANCELLED, failed=True)
            elif known.state is State.SCHEDULED and known.due <= now:
                known.state = State.READY
            elif known.parked and known.due <= now:
                self.expected.end(known, State.DEAD, failed=True)

    def _reap(self) -> None:
        """Whose lease is over is lost. A heartbeat need not be written before a third of the lease has passed."""
        listed = {view.id for view in self.broker.inspector.consumers()}
        for worker in list(self.expected.workers):
            silent = self.clock.now() - worker.heard
            lost = worker.consumer.id not in listed
            assert lost or silent < LEASE, "a consumer outlived its lease"
            assert not lost or silent > LEASE * 0.6, "a consumer was lost before its lease was over"
            if lost:
                self.expected.lost(worker)
                assert not worker.consumer.extend().alive

    # --- an operator

    @precondition(lambda self: self.expected.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        known = self._a_job(data)
        done = self.broker.inspector.cancel([known.job.id, "nobody"])
        if known.state in ENDED:
            assert done == []
        elif known.state is State.RUNNING:
            assert known.unwanted or done == [known.job.id]
            known.unwanted = True
        else:
            assert done == [known.job.id]
            self.expected.end(known, State.CANCELLED, failed=True)

    @precondition(lambda self: self.expected.jobs)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        known = self._a_job(data, State.DEAD)
        dead = known.state is State.DEAD
        assert self.broker.inspector.retry([known.job.id]) == [known.job.id] * dead
        if dead:
            known.state, known.attempts, known.worker_deaths, known.expires = State.READY, 0, 0, math.inf

    @rule(state=st.sampled_from(State), queue=st.sampled_from((*QUEUES, None)), rare=st.integers(0, 3))
    def purge_or_prune(self, state: State, queue: str | None, rare: int) -> None:
        if rare:
            self._prune()
            return
        gone = [
            known
            for known in self.expected.jobs.values()
            if known.state is state and state is not State.RUNNING and queue in (None, known.job.queue)
        ]
        assert self.broker.inspector.purge([state], queue=queue) == len(gone)
        for known in gone:
            self.expected.forget(known, self.clock.now())

    def _prune(self) -> None:
        while self.broker.inspector.prune():
            pass
        self.expected.forget_what_is_over()

    # --- what must be true at all times

    def _follow(self) -> None:
        """Learn what the contract leaves to the broker."""
        self.janitor.receive(1, wait=0.0)  # what came back after its expiry is cancelled by whoever looks next

    @invariant()
    def all_is_as_it_must_be(self) -> None:
        self._follow()
        self._check()

    def _check(self) -> None:
        self._every_job_is_where_it_must_be()
        self._ready_jobs_are_listed_as_they_stand()
        self._who_ended_has_a_result()

    def _every_job_is_where_it_must_be(self) -> None:
        inspector = self.broker.inspector
        views = dict(zip(self.expected.jobs, inspector.find(list(self.expected.jobs)), strict=True))
        now = self.clock.now()
        for job_id, known in list(self.expected.jobs.items()):
            view = views[job_id]
            if view is None and known.state in ENDED and self.expected.over_at(known) <= now:
                self.expected.forget(known, known.ended)
                continue
            assert view is not None, f"{job_id} is lost: it should be {known.state}"
            facts = view.state, view.attempts, len(view.failures), view.queue
            wanted = known.state, known.attempts, known.failures, known.job.queue
            assert facts == wanted, f"{job_id}: state, attempts, failures, queue are {facts}, should be {wanted}"
        counts = Counter((known.job.queue, known.state) for known in self.expected.jobs.values())
        assert dict(inspector.counts()) == dict(counts)

    def _ready_jobs_are_listed_as_they_stand(self) -> None:
        for queue in QUEUES:
            listed = [view.id for view in self.broker.inspector.jobs(State.READY, queue=queue, limit=1000).jobs]
            assert listed == [known.job.id for known in self.expected.ready(queue)]

    def _who_ended_has_a_result(self) -> None:
        results = self.broker.results.get(list(self.expected.jobs))
        for known, result in zip(self.expected.jobs.values(), results, strict=True):
            assert (result.state if result else None) == (known.state if known.state in ENDED else None)

    # --- drawing

    def _register(self, queue: str, tasks: Iterable[str]) -> None:
        known = frozenset(tasks)
        consumer = self.broker.consumer([queue], lease=LEASE, tasks=known, name="w")
        self.expected.workers.append(Worker(consumer, queue, known, self.clock.now()))

    def _a_worker(self, data: st.DataObject, rather: Callable[[Worker], bool] | None = None) -> Worker:
        if not self.expected.workers:
            self._register("a", ["known"])
        return data.draw(
            st.sampled_from([each for each in self.expected.workers if rather and rather(each)] or self.expected.workers)
        )

    def _held(self) -> bool:
        return any(worker.held for worker in self.expected.workers)

    def _a_job(self, data: st.DataObject, rather: State | None = None) -> Known:
        jobs = list(self.expected.jobs.values())
        return data.draw(st.sampled_from([known for known in jobs if known.state is rather] or jobs))

    def _some(self, data: st.DataObject, worker: Worker) -> list[Lease]:
        leases = list(worker.held)
        return data.draw(st.lists(st.sampled_from(leases), unique_by=id, min_size=1, max_size=4))

    def _an_outcome(self, data: st.DataObject, job: Job) -> Outcome:
        outcomes: list[Outcome] = [
            *[Done(job.id.encode())] * 3,
            Retry(0.0, BOOM),
            Retry(10.0, BOOM),
            Dead(BOOM),
            Cancelled(BOOM),
            Release(),
            Release(10.0),
            Park(50.0, BOOM),
        ]
        return data.draw(st.sampled_from(outcomes))


def _is_busy(worker: Worker) -> bool:
    return bool(worker.held)
