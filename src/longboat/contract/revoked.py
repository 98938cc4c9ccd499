"""Revocations: how a job is cancelled where it cannot be found by its id, by carriers alone.

They are entries of a KV of which each process has a copy. A revocation says that a job is not to run, a rule that no job
of a queue or a task is that was enqueued before some moment. Whoever receives the job looks first, and ends it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Protocol

import msgspec

from longboat.contract.carrier import NEVER, Delivery
from longboat.contract.kv import KV, Entry
from longboat.core.bounds import Seconds
from longboat.core.clock import SYSTEM
from longboat.core.codec import decoded
from longboat.core.patterns import same
from longboat.errors import BrokerError, BrokerFull

NAMESPACE = "revoked"
RULES = "revoked.all"
KEPT = 32 * 86400.0
"""Seconds that a revocation waits for its job: longer than a carrier can delay one."""
ENDED_KEPT = 86400.0
"""Seconds that it stays when the job has ended: its message may come again."""
MOST = 100_000
"""Revocations that are kept at a time."""
MOST_RULES = 1000
"""Rules that are kept at a time: each is compared with every job that a worker receives."""


class ReplicatedKV(KV, Protocol):
    """A KV whose entries are in this process's memory."""

    def open(self) -> None:
        """Know all entries up to now. Raises BrokerError."""
        ...

    def count(self, namespace: str) -> int:
        """How many entries there are about, by this copy as it is. Costs next to nothing and raises nothing."""
        ...

    def peek(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        """As `read`, by this copy as it is. Raises nothing."""
        ...

    def peek_all(self, namespace: str, limit: int) -> list[tuple[str, bytes]]:
        """As `entries`, by this copy as it is. Raises nothing."""
        ...


class Revocation(msgspec.Struct, array_like=True):
    """A job that is not to run."""

    at: Seconds
    """Wall-clock time at which it was cancelled."""
    ended: bool = False
    """A worker has ended the job since."""


class Rule(msgspec.Struct, array_like=True):
    """All jobs of a queue, of a task, or of both that were enqueued before are not to run."""

    at: Seconds
    """Wall-clock time of the cancellation. A job is compared by the time that its caller's clock gave it."""
    queue: str = ""
    """A name or a pattern; empty: any."""
    task: str = ""


class Revoked:
    """The revocations of one broker."""

    def __init__(self, kv: ReplicatedKV) -> None:
        self._kv = kv
        self._rules: tuple[list[tuple[str, bytes]], list[Rule]] = [], []
        """As read last, and decoded."""

    def open(self) -> None:
        """What was revoked up to now is known from here on. Where the KV cannot be read jobs run all the same."""
        with contextlib.suppress(BrokerError):
            self._kv.open()

    @property
    def any(self) -> bool:
        """False: nothing was revoked, as far as this process knows. Costs next to nothing."""
        return self._kv.count(NAMESPACE) > 0 or self._kv.count(RULES) > 0

    def revoke(self, ids: Collection[str]) -> None:
        """These are not to run. Raises BrokerFull, and what the KV raises."""
        if self._kv.count(NAMESPACE) + len(ids) > MOST:
            raise BrokerFull(
                f"{MOST:,} cancellations wait for their jobs already, since a broker of messages alone cannot find a job by "
                "its id. To delete all jobs of a queue: longboat purge. Or keep a store beside it: ?results=redis://…"
            )
        revocation = msgspec.msgpack.encode(Revocation(SYSTEM.now()))
        self._kv.put_if_absent(NAMESPACE, [Entry(each, revocation, KEPT) for each in ids])

    def revoke_all(self, queue: str, task: str) -> None:
        """See `RevokesAll`. Raises BrokerFull, and what the KV raises."""
        if self._kv.count(RULES) >= MOST_RULES:
            raise BrokerFull(
                f"{MOST_RULES:,} cancellations of whole queues and tasks are kept already; each is forgotten after "
                f"{KEPT / 86400:.0f} days. A pattern such as 'tenant-*' makes one of many"
            )
        rule, key = Rule(SYSTEM.now(), queue, task), sha256(f"{queue}\0{task}".encode()).hexdigest()
        self._kv.write(RULES, [Entry(key, msgspec.msgpack.encode(rule), KEPT)])

    def unwanted(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those of these leased jobs that are not to run, as far as this process knows."""
        ids = self.among([each.lease.job.id for each in deliveries if each.lease]) if self._kv.count(NAMESPACE) else ()
        rules = self._present_rules()
        return [
            each
            for each in deliveries
            if each.lease and (each.lease.job.id in ids or any(_covers(rule, each) for rule in rules))
        ]

    def _present_rules(self) -> list[Rule]:
        if not self._kv.count(RULES):
            return []
        entries = self._kv.peek_all(RULES, 2 * MOST_RULES)
        if entries != self._rules[0]:
            self._rules = entries, [rule for _, value in entries if (rule := decoded(value, Rule))]
        return self._rules[1]

    def forget(self, ids: Collection[str]) -> None:
        """These may run."""
        if self.any:
            self._kv.write(NAMESPACE, [Entry(each, None) for each in self.among(ids)])

    def end(self, ids: Collection[str]) -> None:
        """Those of these that were revoked have ended. Where that cannot be said, they stay revoked for longer."""
        found = {each: one for each, one in self.among(ids).items() if not one.ended}
        entries = [
            Entry(each, msgspec.msgpack.encode(Revocation(one.at, ended=True)), ENDED_KEPT) for each, one in found.items()
        ]
        with contextlib.suppress(BrokerError):
            self._kv.write(NAMESPACE, entries)

    def among(self, ids: Collection[str]) -> dict[str, Revocation]:
        """Those of these that were revoked, as far as this process knows."""
        asked = list(ids)
        values = self._kv.peek(NAMESPACE, asked)
        return {each: one for each, value in zip(asked, values, strict=True) if (one := decoded(value, Revocation))}


def _covers(rule: Rule, delivery: Delivery) -> bool:
    """A dead job that was retried counts as enqueued then."""
    if delivery.lease is None:
        return False
    job, put = delivery.lease.job, delivery.envelope.put
    enqueued = put - NEVER if put >= NEVER else job.enqueued
    return (
        enqueued < rule.at
        and (not rule.queue or same(rule.queue, job.queue))
        and (not rule.task or same(rule.task, job.task))
    )
