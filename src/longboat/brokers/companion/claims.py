"""Claims: what a consumer leases is claimed in the KV first, by one `put_if_absent` a batch.

A claim names the message that stands for its job. A message that comes while its claim is held was given back by the
carrier, so its holder is gone; any other message of a claimed job is a second one, and is dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from longboat.brokers.companion.dependencies import Dependencies, dependent
from longboat.brokers.companion.endings import Endings
from longboat.brokers.companion.entries import BACK, HELD, OVER, Claim, key, pair
from longboat.brokers.companion.ledger import Ledger, Seen, encode
from longboat.brokers.companion.marks import left_alone
from longboat.contract.broker import DEAD_KEPT, Lease
from longboat.contract.carrier import Carrier, Delivery, Envelope
from longboat.contract.kv import Entry
from longboat.contract.messages import message_of
from longboat.core.codec import decode_failures
from longboat.core.job import Job

LATER = 0.1
"""Seconds until a dependent's message that came before its time is looked at again."""

Pair = tuple[Delivery, Lease]


class Claims:
    """One consumer's."""

    def __init__(
        self, ledger: Ledger, carrier: Carrier, endings: Endings, dependencies: Dependencies, consumer: str, worker: str
    ) -> None:
        self._ledger = ledger
        self._carrier = carrier
        self._endings = endings
        self._dependencies = dependencies
        self._consumer = consumer
        self._worker = worker
        self._numbers = itertools.count()

    def take(self, pairs: Sequence[Pair], here: Collection[str]) -> tuple[list[Pair], str]:
        """Those that may be leased, and the entry that lists them. `here`: what this consumer leases already."""
        batch = f"h/{self._consumer}/{next(self._numbers):012d}"
        pairs = self._sift(pairs)
        if not pairs:
            return [], batch
        for delivery, lease in pairs:  # deaths that the carrier counts are of messages, not of leases
            delivery.envelope.worker_deaths = lease.worker_deaths = 0
        entries = [Entry(key("c", lease.job.id), encode(self._held(delivery.envelope))) for delivery, lease in pairs]
        names = encode([lease.job.id for _, lease in pairs])
        *added, _ = self._ledger.put_if_absent([*entries, Entry(batch, names, DEAD_KEPT)])
        given: list[Pair] = []
        leased = set(here)
        for (delivery, lease), new in zip(pairs, added, strict=True):
            if new or self._contend(delivery, lease, leased):
                leased.add(lease.job.id)
                given.append((delivery, lease))
        if waited := dependent(lease.job for _, lease in given):
            inputs = self._dependencies.inputs(waited)
            for _, lease in given:
                lease.inputs = inputs.get(lease.job.id, ())
        return given, batch

    def _held(self, envelope: Envelope) -> Claim:
        numbers = (envelope.attempts, envelope.worker_deaths, envelope.failures)
        return Claim(HELD, [envelope.copy], self._consumer, self._worker, *numbers, self._ledger.now())

    def _sift(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """Without what may be a second message of a job that ended long ago, or that still waits for its parents."""
        doubtful = [lease.job.id for delivery, lease in pairs if delivery.envelope.again]
        if not doubtful:
            return pairs
        seen = {each.id: each for each in self._ledger.look(doubtful)}
        fit: list[Pair] = []
        for delivery, lease in pairs:
            there = seen.get(lease.job.id) if delivery.envelope.again else None
            if there is None or there.claim is not None:
                fit.append((delivery, lease))
            elif there.put_record is not None and there.put_record.waits:
                self._carrier.send([message_of(lease.job, delivery.body, delivery.envelope, LATER)])
            elif there.put_record is not None and not there.put_record.over:
                fit.append((delivery, lease))
        return fit

    def _contend(self, delivery: Delivery, lease: Lease, leased: Collection[str]) -> bool:
        """A job that was claimed before: whether it may be leased now."""
        name, envelope = lease.job.id, delivery.envelope
        while True:
            seen = left_alone(self._ledger, name)
            if seen.claim is not None:
                if not self.stands(delivery, seen, seen.claim):
                    return False
                if seen.claim.kind == HELD and seen.claim.holder == self._consumer and name in leased:
                    return False  # the same message twice
                claim = self.come_back(seen, seen.claim)
                if seen.asked:
                    by = f"{self._consumer} {delivery.tag}"
                    ending = self._endings.cancelled(lease.job, delivery.body, claim, by=by)
                    self._endings.end([ending], [Entry(pair("a", claim.holder, name), None)])
                    return False
                envelope.attempts, envelope.worker_deaths = claim.attempts, claim.worker_deaths
                envelope.failures = claim.failures
            if self._ledger.compare_and_set(Entry(key("c", name), encode(self._held(envelope))), seen.claim_raw):
                lease.attempt, lease.worker_deaths = envelope.attempts + 1, envelope.worker_deaths
                lease.failures = len(decode_failures(envelope.failures))
                return True

    def stands(self, delivery: Delivery, seen: Seen, claim: Claim) -> bool:
        """Whether this message is the one that the job goes on with."""
        if claim.kind == OVER or delivery.envelope.copy not in claim.copies:
            return False
        if seen.end is not None:
            self._endings.end_again(seen.end)
            return False
        return True

    def come_back(self, seen: Seen, claim: Claim) -> Claim:
        """The claim, given back if its holder was another, who has died."""
        return claim if claim.holder == self._consumer else seen.given_back(self._ledger.now()) or claim

    def give_up(self, delivery: Delivery, job: Job, new: Envelope, due: float, seen: Seen) -> bool:
        """From now on the job goes on by this message or the one that `new` is written on; False: another holds it.

        By compare-and-set: a claim that was taken over meanwhile may not be written over, since other messages are dropped
        by it.
        """
        copies = list(dict.fromkeys([delivery.envelope.copy, new.copy]))
        back = Claim(BACK, copies, attempts=new.attempts, worker_deaths=new.worker_deaths, failures=new.failures)
        back.due, back.parked, back.why = due, new.parked, new.why
        entry = Entry(key("c", job.id), encode(back))
        while self._mine(delivery, seen):
            if self._ledger.compare_and_set(entry, seen.claim_raw):
                return True
            (seen,) = self._ledger.look([job.id])
        return False

    def _mine(self, delivery: Delivery, seen: Seen) -> bool:
        claim = seen.claim
        if claim is None or seen.end is not None:
            return seen.end is None
        if claim.kind == HELD and claim.holder != self._consumer:
            return False
        return claim.kind != OVER and delivery.envelope.copy in claim.copies
