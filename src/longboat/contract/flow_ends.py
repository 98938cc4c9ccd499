"""How the jobs of flows ended, noted by workers where no job can be looked up: on carriers alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import msgspec

from longboat.contract.chains import Chain
from longboat.contract.kv import KV, Entry
from longboat.core.codec import decoded
from longboat.core.job import Job, State, new_id
from longboat.core.views import job_or_none
from longboat.errors import BrokerError, BrokerUnavailable

NAMESPACE = "flow.ended"
KEPT = 2 * 86400.0
"""Seconds that an end is known for: every process has a copy."""
WAITING = 10_000
"""Ends that wait while the KV takes nothing; further ones are not noted."""
TOGETHER = 10_000
"""Ends in one entry, at most."""

_Ends = list[tuple[str, State]]


class FlowEnds:
    """A worker's side. Safe to use from several threads."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._lock = threading.Lock()
        self._unwritten: dict[str, dict[str, State]] = {}
        """By flow, and by job."""
        self._number = 0

    def add(self, job: Job, state: State, chain: Chain | None = None) -> None:
        """This job has ended so, or is READY again. What comes after one that failed waits for it."""
        if job.constraints is None or not job.constraints.flow:
            return
        ends = [(job.id, state)]
        if chain is not None and state in (State.DEAD, State.CANCELLED):
            ends += [(each.id, State.WAITING) for step in chain.steps if (each := job_or_none(step.body))]
        with self._lock:
            if self._number < WAITING:
                self._unwritten.setdefault(job.constraints.flow, {}).update(ends)
                self._number += len(ends)

    def write(self) -> None:
        """Store what was added, in one write. What cannot be stored now is stored by the next call."""
        if not self._unwritten:
            return
        with self._lock:
            unwritten, self._unwritten, self._number = self._unwritten, {}, 0
        entries = [
            Entry(f"{flow_id}:{new_id()}", msgspec.msgpack.encode(some[at : at + TOGETHER]), KEPT)
            for flow_id, ends in unwritten.items()
            for some in [list(ends.items())]
            for at in range(0, len(some), TOGETHER)
        ]
        try:
            self._kv.write(NAMESPACE, entries)
        except BrokerUnavailable:
            with self._lock:
                for flow_id, ends in unwritten.items():
                    self._unwritten[flow_id] = {**ends, **self._unwritten.get(flow_id, {})}
                    self._number += len(ends)
        except BrokerError:
            return  # there is no stream, or no room: jobs end all the same


def ends(kv: KV, flow_id: str) -> dict[str, State]:
    """What was noted of the flow's jobs, by id."""
    found: dict[str, State] = {}
    after, before = f"{flow_id}:", f"{flow_id};"
    while entries := kv.entries(NAMESPACE, after=after, before=before):
        for _, value in entries:
            found.update(_read(value))
        after = entries[-1][0]
    return found


def _read(value: bytes) -> Iterable[tuple[str, State]]:
    return decoded(value, _Ends) or ()
