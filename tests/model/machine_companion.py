"""The model of what the companion keeps over a carrier that keeps the order: all but limits, fairness and prompt parking."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from longboat.brokers.companion import CompanionBroker
from longboat.contract.broker import Lease
from longboat.core.constraints import Constraints
from longboat.core.job import Job, Outcome, Park, Release, State
from tests.model.expected import Known, Worker
from tests.model.machine import QUEUES
from tests.model.machine_constraints import TURNS, ConstrainedMachine


class CompanionMachine(ConstrainedMachine):
    broker: CompanionBroker

    def __init__(self) -> None:
        super().__init__()
        self.retried: set[str] = set()

    def _job(self, *, constraints: Constraints | None = None, **fields: Any) -> Job:
        """Without limits and fairness keys."""
        job = super()._job(constraints=constraints, **fields)
        if job.constraints is not None:
            job.constraints = msgspec.structs.replace(job.constraints, limits=[], fairness_key="")
        return job

    def _an_outcome(self, data: st.DataObject, job: Job) -> Outcome:
        """A parked job is received up to a second late by who knows its task."""
        outcome = super()._an_outcome(data, job)
        return Release() if isinstance(outcome, Park) else outcome

    def _received(self, worker: Worker, n: int, limited: bool) -> list[Lease]:  # noqa: ARG002  # as its protocol has it
        """Messages that no longer count are among those received, and are dropped: so it may take several calls."""
        return super()._received(worker, n, limited=True)

    def _follow(self) -> None:
        self.broker.tidy(1.0)
        super()._follow()
        for known in self.expected.jobs.values():
            known.spot = None  # no queue is in the order of turns

    def _a_job(self, data: st.DataObject, rather: State | None = None) -> Known:
        known = super()._a_job(data, rather)
        if rather is State.DEAD and known.state is State.DEAD:
            self.retried.add(known.job.id)
        return known

    def _ready_jobs_are_listed_as_they_stand(self) -> None:
        """A retried job is listed as one that was put when it was retried."""
        for queue in (*QUEUES, TURNS):
            listed = [view.id for view in self.broker.inspector.jobs(State.READY, queue=queue, limit=1000).jobs]
            wanted = [known.job.id for known in self.expected.ready(queue)]
            assert set(listed) == set(wanted)
            assert [each for each in listed if each not in self.retried] == [
                each for each in wanted if each not in self.retried
            ]

    def _keys_take_turns_within_a_priority(self) -> None:
        """There are no turns."""
