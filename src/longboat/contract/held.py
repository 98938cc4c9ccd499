"""Unique keys, and how a worker lets go of them where nobody can look up what became of a job: on carriers alone.

There a job brings its key along. Whoever ends it removes the entry of the key, unless that names another job by now.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from longboat.contract.carrier import Delivery
from longboat.contract.chains import Chain, chain_or_none
from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.codec import decoded
from longboat.core.constraints import JobKey
from longboat.core.job import Job
from longboat.core.views import job_or_none
from longboat.errors import BrokerError, BrokerUnavailable, Unsupported

NAMESPACE = "unique"
KEPT = 30 * 86400.0
"""Seconds that a key is known for, where its rule names no time."""


class Holder(msgspec.Struct, array_like=True):
    """An entry: the job that stands for a key."""

    id: str
    at: float
    """Wall-clock time at which the key was taken."""
    stored: bool = True
    """The job is known to have been stored: if it is not there, it has ended and is forgotten."""
    replaces: list[str] = []
    """Jobs that are to be cancelled once it is stored."""
    started: bool = False
    """A worker has received the job. Said only where jobs cannot be looked up, and only if the last call is to win."""


def entry_of(key: str, holder: Holder, keep: float = KEPT) -> Entry:
    return Entry(key, msgspec.msgpack.encode(holder), keep)


def catch_up(kv: KV, key: str) -> None:
    """What is read from here on is at least as new as this call, also of a KV that is read from a copy."""
    kv.compare_and_set(NAMESPACE, Entry(key, None), old=b"")  # no entry is empty: this changes nothing


class Held:
    """The keys that the jobs of one broker hold. Safe to use from several threads."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._lock = threading.Lock()
        self._due: set[tuple[str, str]] = set()
        """By key and job: what could not be let go of."""

    def started(self, deliveries: Sequence[Delivery]) -> None:
        """These are about to be leased."""
        for job in _jobs(deliveries):
            key = _key(job)
            if key is not None and key.until_started:
                self._let_go([job])
            elif key is not None and key.latest:
                self._change(key.text, job.id, started=True)

    def ended(self, delivery: Delivery, *, in_vain: bool = True) -> None:
        """The job has ended. `in_vain`: those that come after it will not run."""
        self._let_go(_jobs([delivery]))
        if in_vain:
            self._let_go(_steps(delivery.chain))

    def dropped(self, deliveries: Sequence[Delivery]) -> None:
        """These ready jobs were deleted."""
        for each in deliveries:
            if (job := job_or_none(each.body)) is not None:
                self._let_go([job])
                self._let_go(_steps(chain_or_none(each.envelope.chain)))

    def again(self) -> None:
        """Let go of what could not be let go of before."""
        if self._due:
            with self._lock:
                due, self._due = self._due, set()
            for text, job_id in due:
                self._change(text, job_id)

    def take(self, job: Job) -> None:
        """A dead job is to run again: it has its key, unless another has it by now."""
        key = _key(job)
        if key is not None and not key.until_started:
            with contextlib.suppress(BrokerError):
                self._kv.put_if_absent(NAMESPACE, [entry_of(key.text, Holder(job.id, SYSTEM.now()))])

    def _let_go(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if (key := _key(job)) is not None:
                self._change(key.text, job.id)

    def _change(self, text: str, job_id: str, *, started: bool = False) -> None:
        """Remove the entry of a key, or say that its job has started, if it names this job.

        Where that cannot be said now it is said later.
        """
        try:
            known = False
            while True:
                value = self._kv.read(NAMESPACE, [text])[0]
                holder = decoded(value, Holder)
                if holder is not None and holder.id == job_id:
                    new = entry_of(text, Holder(job_id, holder.at, started=True)) if started else Entry(text, None)
                    if self._kv.compare_and_set(NAMESPACE, new, old=value):
                        return
                    known = True
                elif known:
                    return
                else:
                    catch_up(self._kv, text)
                    known = True
        except Unsupported:
            return
        except BrokerUnavailable:
            if not started:
                with self._lock:
                    self._due.add((text, job_id))


def _key(job: Job) -> JobKey | None:
    return None if job.constraints is None else job.constraints.unique


def _jobs(deliveries: Sequence[Delivery]) -> Iterator[Job]:
    for each in deliveries:
        if each.lease is not None and each.lease.job.constraints is not None:
            yield each.lease.job


def _steps(chain: Chain | None) -> Iterator[Job]:
    for step in chain.steps if chain else ():
        if (job := job_or_none(step.body)) is not None:
            yield job
