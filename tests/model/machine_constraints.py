"""The model of jobs with constraints: parents, limits, turns and pauses, played together with all the rest.

Where the contract leaves something to the broker the model follows it, and checks that it may: when a job that a limit
holds back leaves its queue and comes back to it, and how the keys of one queue take turns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from longboat.contract.broker import Lease, Settlement
from longboat.contract.optional import tidy_of
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import ENDED, Done, Job, Outcome, Park, Release, State
from longboat.errors import UnknownParent
from tests.model.expected import Known, Worker
from tests.model.machine import FIELDS, TASKS, BrokerMachine

LIMITS = {limit.key: limit for limit in (JobLimit("one", 1), JobLimit("two", 2), JobLimit("rate", starts=2, per=70.0))}
TURNS = "turns"
"""The queue of jobs that take turns."""
PROMPTLY = 2.0
"""Seconds after which a job is back in its queue, whatever made room for it."""


class ConstrainedMachine(BrokerMachine):
    """As BrokerMachine, with constraints."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: dict[str, list[float]] = {key: [] for key in LIMITS}

    @initialize()
    def begin_turns(self) -> None:
        self._register(TURNS, [])

    # --- callers

    @rule(
        data=st.data(),
        n=st.integers(1, 3),
        fields=FIELDS,
        limits=st.lists(st.sampled_from(list(LIMITS)), unique=True, max_size=2),
        few=st.booleans(),
    )
    def put_constrained(self, data: st.DataObject, n: int, fields: dict[str, Any], limits: list[str], few: bool) -> None:
        jobs: list[Job] = []
        for _ in range(n):
            parents = [job.id for job in jobs] + [known.job.id for known in self._possible_parents()]
            after = data.draw(st.lists(st.sampled_from(parents), max_size=2)) if parents and few else []
            jobs.append(self._job(**fields, constraints=Constraints("flow", after, [LIMITS[key] for key in limits])))
        self._put(jobs)

    @rule(fields=FIELDS, turns=st.lists(st.sampled_from(("x", "y", "z", "")), min_size=1, max_size=5))
    def put_turns(self, fields: dict[str, Any], turns: list[str]) -> None:
        fields = fields | {"queue": TURNS}
        self._put([self._job(**fields, constraints=Constraints(fairness_key=fairness_key)) for fairness_key in turns])

    @rule(fields=FIELDS)
    def put_after_a_stranger(self, fields: dict[str, Any]) -> None:
        first, stranger = self._job(**fields), self._job(**fields)
        child = self._job(**fields, constraints=Constraints(after=[first.id, stranger.id]))
        try:
            self.broker.put([first, child, stranger], token=("client", self.number + 1))
        except UnknownParent:
            assert self.broker.inspector.find([first.id, child.id, stranger.id]) == [None] * 3
        else:
            raise AssertionError("a job after one put later was taken")

    def _job(self, *, constraints: Constraints | None = None, **fields: Any) -> Job:
        return super()._job(constraints=constraints or self._constraints(fields["constrained"]), **fields)

    def _constraints(self, kind: int) -> Constraints | None:
        """Those that jobs have wherever the machine needs some; most have none."""
        parents = [known for known in self._possible_parents() if known.state not in (State.DEAD, State.CANCELLED)]
        parents.sort(key=lambda known: known.state in (State.RUNNING, State.SUCCEEDED))
        limits = {4: ["one"], 5: ["one"], 6: ["two"], 7: ["rate"], 8: ["two", "one"]}.get(kind, [])
        after = [known.job.id for known in parents[-2:]] if kind in (8, 9) else []
        return Constraints(after=after, limits=[LIMITS[key] for key in limits]) if limits or after else None

    def _possible_parents(self) -> list[Known]:
        """All but those that the broker may have forgotten already."""
        now = self.clock.now()
        jobs = self.expected.jobs.values()
        return [known for known in jobs if known.state not in ENDED or self.expected.over_at(known) > now]

    # --- workers

    @rule(data=st.data(), queue=st.booleans(), tasks=st.sets(st.sampled_from(TASKS)))
    def pause(self, data: st.DataObject, queue: bool, tasks: set[str]) -> None:
        worker = self._a_worker(data, lambda worker: worker.paused)
        worker.consumer.pause([worker.queue] if queue else ["another"], tasks)
        worker.paused, worker.paused_tasks = queue, frozenset(tasks)

    @rule(data=st.data(), n=st.integers(1, 3))
    def take_turns(self, data: st.DataObject, n: int) -> None:
        workers = [worker for worker in self.expected.workers if worker.queue == TURNS]
        if not workers and len(self.expected.workers) < 6:
            self._register(TURNS, [])
        elif workers:
            self._receive(data.draw(st.sampled_from(workers)), n)

    @rule(rounds=st.lists(st.integers(1, 4), min_size=1, max_size=5))
    def get_on(self, rounds: list[int]) -> None:
        """All workers do what they can, and all of it succeeds."""
        for n in rounds:
            for worker in self.expected.workers:
                self._receive(worker, n)
                settlements = [Settlement(lease, Done(lease.job.id.encode())) for lease in worker.held]
                assert worker.consumer.settle(settlements) == []
                self._settled(worker, settlements)

    def _receive(self, worker: Worker, n: int) -> None:
        self._follow()
        line = self.expected.next(worker, len(self.expected.jobs))
        leases = self._received(worker, n, any(known.limits for known in line))
        for lease in leases:
            known = self.expected.jobs[lease.job.id]
            assert lease.job == known.job
            if known in line:
                at = line.index(known)
                self._are_blocked(line[:at], "passed over")
                line = line[at + 1 :]
            else:
                assert known.blocked, f"{known} was received"
                assert not worker.paused
                assert known.job.queue == worker.queue
            assert self._is_open(known), f"{known} was received though it is blocked"
            self._hold(worker, lease, known)
        if len(leases) < n:
            self._are_blocked(line, "left")
        self._follow()

    def _received(self, worker: Worker, n: int, limited: bool) -> list[Lease]:
        """With limits it may take several calls to come to all that can be had."""
        leases = worker.consumer.receive(n, wait=0.0)
        empty = 0
        while limited and len(leases) < n and empty < 2:
            more = worker.consumer.receive(n - len(leases), wait=0.0)
            leases += more
            empty += not more
        assert len(leases) <= n
        return leases

    def _hold(self, worker: Worker, lease: Lease, known: Known) -> None:
        super()._hold(worker, lease, known)
        parents = known.job.constraints.after if known.job.constraints else []
        assert list(lease.inputs) == [known.inputs[parent] for parent in parents]
        known.blocked, known.spot = False, None
        for limit in known.limits:
            self.starts[limit.key].append(self.clock.now())

    def _an_outcome(self, data: st.DataObject, job: Job) -> Outcome:
        """What is parked and held back besides may be either: the contract does not say."""
        outcome = super()._an_outcome(data, job)
        return Release() if isinstance(outcome, Park) and job.constraints else outcome

    # --- limits

    def _room(self, limit: JobLimit) -> int:
        running = len(self._holders(limit.key))
        started = self._started(limit)
        rooms = [limit.running - running] if limit.running is not None else []
        return max(0, min(rooms + ([limit.starts - started] if limit.starts is not None else [])))

    def _holders(self, key: str) -> set[str]:
        jobs = self.expected.jobs.items()
        return {job_id for job_id, known in jobs if known.state is State.RUNNING and key in _keys(known)}

    def _started(self, limit: JobLimit) -> int:
        return sum(at > self.clock.now() - limit.per for at in self.starts[limit.key])

    def _is_open(self, known: Known) -> bool:
        return all(self._room(limit) for limit in known.limits)

    def _are_blocked(self, these: Iterable[Known], what: str) -> None:
        for known in these:
            assert not self._is_open(known), f"{known} was {what} though nothing blocks it"

    def _stuck(self) -> set[str]:
        """Jobs that wait for a limit although there is room for them, and nobody in their queue stands for it."""
        return {job_id for job_id, known in self.expected.jobs.items() if known.blocked and self._is_free(known)}

    def _is_free(self, waiting: Known) -> bool:
        def stands_for(known: Known, limit: JobLimit) -> bool:
            return known.state is State.READY and known.job.queue == waiting.job.queue and limit.key in _keys(known)

        jobs = self.expected.jobs.values()
        return all(self._room(limit) > sum(stands_for(known, limit) for known in jobs) for limit in waiting.limits)

    def _advance(self, seconds: float) -> None:
        self._follow()
        before = self._stuck()
        super()._advance(seconds)
        if seconds > PROMPTLY:
            tidy = tidy_of(self.broker)
            tidy.tidy(5.0) if tidy else self.janitor.extend()
            self._follow()
            assert not before & self._stuck(), f"nobody let them in: {before & self._stuck()}"

    # --- following the broker

    def _follow(self) -> None:
        super()._follow()
        queued = [
            known for known in self.expected.jobs.values() if known.limits and (known.state is State.READY or known.blocked)
        ]
        for known, view in zip(queued, self.broker.inspector.find([known.job.id for known in queued]), strict=True):
            assert view is not None, f"{known} is lost"
            if view.state is State.WAITING:
                assert known.blocked or not self._is_open(known), f"{known} waits though nothing blocks it"
                known.state, known.blocked = State.WAITING, True
            elif view.state is State.READY:
                known.state, known.blocked = State.READY, False
        for spot, view in enumerate(self.broker.inspector.jobs(State.READY, queue=TURNS, limit=1000).jobs):
            self.expected.jobs[view.id].spot = spot

    def _check(self) -> None:
        super()._check()
        self._keys_take_turns_within_a_priority()
        self._limits_are_told_as_they_are()

    def _keys_take_turns_within_a_priority(self) -> None:
        line = [self.expected.jobs[view.id] for view in self.broker.inspector.jobs(State.READY, queue=TURNS).jobs]
        assert {known.job.id for known in line} == {known.job.id for known in self.expected.ready(TURNS)}
        assert [known.job.priority for known in line] == sorted((known.job.priority for known in line), reverse=True)
        kinds: dict[tuple[int, str], list[int]] = {}
        for known in line:
            fairness_key = known.job.constraints.fairness_key if known.job.constraints else ""
            kinds.setdefault((known.job.priority, fairness_key), []).append(known.place)
        assert all(places == sorted(places) for places in kinds.values()), f"not by age: {line}"

    def _limits_are_told_as_they_are(self) -> None:
        views = dict(zip(LIMITS, self.broker.inspector.limits(list(LIMITS)), strict=True))
        for key, view in views.items():
            running, holders, started = (view.running, set(view.holders), view.started) if view else (0, set(), None)
            assert (running, holders) == (len(self._holders(key)), self._holders(key))
            assert started is None or LIMITS[key].starts is None or started == self._started(LIMITS[key])
        waiting = sum(known.blocked for known in self.expected.jobs.values())
        assert sum(view.waiting for view in views.values() if view) == waiting


def _keys(known: Known) -> list[str]:
    return [limit.key for limit in known.limits]
