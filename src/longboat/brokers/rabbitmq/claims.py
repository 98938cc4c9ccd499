"""Claims: what a consumer leases is claimed on the board first, one `add` a batch.

A claim names the message that stands for its job. A message that comes while its claim is held was given back by the
server, so its holder is gone; any other message of a claimed job is a second one, and is dropped.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Sequence

from longboat.brokers.rabbitmq.entries import BACK, HELD, OVER, Claim, key, pair
from longboat.brokers.rabbitmq.envelope import Envelope
from longboat.brokers.rabbitmq.held import Held
from longboat.brokers.rabbitmq.ledger import Seen, back, encode
from longboat.brokers.rabbitmq.packing import left_alone
from longboat.brokers.rabbitmq.stored import Stored
from longboat.contract.broker import DEAD_KEPT, Lease
from longboat.contract.kv import Entry
from longboat.core.codec import decode_failures
from longboat.core.job import Failure, Job
from longboat.core.reasons import WORKER_DIED

LATER = 0.1
"""Seconds until a follower's message that came before its time is looked at again."""

Pair = tuple[Held, Lease]


class Claims:
    """One consumer's."""

    def __init__(self, stored: Stored, consumer: str, name: str) -> None:
        self._stored = stored
        self._ledger = stored.ledger
        self._consumer = consumer
        self._name = name
        self._numbers = itertools.count()

    def take(self, pairs: Sequence[Pair], here: Collection[str], now: float) -> tuple[list[Pair], str]:
        """Those that may be leased, and the note that lists them. `here`: what this consumer leases already."""
        batch = f"h/{self._consumer}/{next(self._numbers):012d}"
        pairs = self._sift(pairs)
        if not pairs:
            return [], batch
        for held, lease in pairs:
            held.envelope.worker_deaths = lease.worker_deaths = (
                0  # those that the server counts are of messages, not of leases
            )
        entries = [Entry(key("c", lease.job.id), encode(self._held(held, now))) for held, lease in pairs]
        names = encode([lease.job.id for _, lease in pairs])
        added = self._ledger.put_if_absent([*entries, Entry(batch, names, DEAD_KEPT)])
        given: list[Pair] = []
        leased = set(here)
        for (held, lease), new in zip(pairs, added, strict=False):
            if new or self._contend(held, lease, leased, now):
                leased.add(lease.job.id)
                given.append((held, lease))
        inputs = self._stored.followers.inputs(
            [lease.job for _, lease in given if lease.job.constraints and lease.job.constraints.after]
        )
        for _, lease in given:
            lease.inputs = inputs.get(lease.job.id, ())
        return given, batch

    def _held(self, held: Held, at: float) -> Claim:
        envelope = held.envelope
        numbers = (envelope.attempts, envelope.worker_deaths, envelope.failures)
        return Claim(HELD, [envelope.copy], self._consumer, self._name, *numbers, at)

    def give_up(self, held: Held, job: Job, new: Envelope, due: float, seen: Seen) -> bool:
        """From now on the job goes on by this message or the one that `new` is written on; False: another holds it.

        By `swap`: a claim that was taken over meanwhile may not be written over, since other messages are dropped by it.
        """
        copies = list(dict.fromkeys([held.envelope.copy, new.copy]))
        back = Claim(BACK, copies, attempts=new.attempts, worker_deaths=new.worker_deaths, failures=new.failures)
        back.due, back.parked, back.why = due, new.parked, new.why
        entry = Entry(key("c", job.id), encode(back))
        while self._mine(held, seen):
            if self._ledger.compare_and_set(entry, seen.claim_raw):
                return True
            (seen,) = self._ledger.look([job.id])
        return False

    def _mine(self, held: Held, seen: Seen) -> bool:
        claim = seen.claim
        if claim is None or seen.end is not None:
            return seen.end is None
        if claim.kind == HELD and claim.holder != self._consumer:
            return False
        return claim.kind != OVER and held.envelope.copy in claim.copies

    def stands(self, held: Held, seen: Seen, claim: Claim) -> bool:
        """Whether this message is the one that the job goes on with."""
        if claim.kind == OVER or held.envelope.copy not in claim.copies:
            return False
        if seen.end is not None:
            self._stored.end_again(seen.end)
            return False
        return True

    def come_back(self, seen: Seen, claim: Claim) -> Claim:
        """What another held is given up by one who died."""
        if claim.kind != HELD or claim.holder == self._consumer:
            return claim
        failure = Failure(WORKER_DIED, f"{claim.worker} died while it ran this", at=time.time(), worker=claim.worker)
        return back(claim, failure, started=seen.started)

    def _sift(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Without what may be a second message of a job that has ended long ago, or that waits for its parents still."""
        doubtful = [lease.job.id for held, lease in pairs if held.envelope.again]
        seen = {each.id: each for each in self._ledger.look(doubtful)}
        fit: list[Pair] = []
        for held, lease in pairs:
            there = seen.get(lease.job.id) if held.envelope.again else None
            if there is None or there.claim is not None:
                fit.append((held, lease))
            elif there.put_record is not None and there.put_record.waits:
                self._stored.publish([(lease.job, held.envelope, LATER, held.body)])
            elif there.put_record is not None and not there.put_record.over:
                fit.append((held, lease))
        return fit

    def _contend(self, held: Held, lease: Lease, leased: Collection[str], now: float) -> bool:
        """A job that was claimed before: whether it may be leased now."""
        name, envelope = lease.job.id, held.envelope
        while True:
            seen = left_alone(self._ledger, name)
            claim = seen.claim
            if claim is not None:
                if not self.stands(held, seen, claim):
                    return False
                if claim.kind == HELD and claim.holder == self._consumer and name in leased:
                    return False  # the same message twice
                claim = self.come_back(seen, claim)
                if seen.asked:
                    self._cancel(held, lease.job, claim)
                    return False
                envelope.attempts, envelope.worker_deaths, envelope.failures = (
                    claim.attempts,
                    claim.worker_deaths,
                    claim.failures,
                )
            if self._ledger.compare_and_set(Entry(key("c", name), encode(self._held(held, now))), seen.claim_raw):
                lease.attempt, lease.worker_deaths = envelope.attempts + 1, envelope.worker_deaths
                lease.failures = len(decode_failures(envelope.failures))
                return True

    def _cancel(self, held: Held, job: Job, claim: Claim) -> None:
        by = f"{self._consumer} {held.tag}"
        ending = self._stored.cancelled(job, held.body, by, attempts=claim.attempts, failures=claim.failures)
        self._stored.end([ending], [Entry(pair("a", claim.holder, job.id), None)])
