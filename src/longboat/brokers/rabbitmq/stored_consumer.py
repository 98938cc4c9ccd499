"""Claimant: the consumer where a store is kept. It claims there what it leases, and writes there what it settles, first."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from longboat.brokers.rabbitmq import envelope as envelopes
from longboat.brokers.rabbitmq.claims import Claims
from longboat.brokers.rabbitmq.consumer import RabbitmqConsumer, delay_of, undecodable
from longboat.brokers.rabbitmq.entries import BACK, Claim, End, PutRecord, WorkerPresence, key, pair, timed
from longboat.brokers.rabbitmq.envelope import Envelope
from longboat.brokers.rabbitmq.held import Held
from longboat.brokers.rabbitmq.ledger import Seen, encode
from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.packing import left_alone
from longboat.brokers.rabbitmq.stored import Ending, Stored
from longboat.contract.broker import DEAD_KEPT, Lease, Pulse, Settlement
from longboat.contract.kv import Entry
from longboat.core.codec import decode_failures
from longboat.core.job import Cancelled, Dead, Done, Failure, Job, Park, Release, Retry, State, new_id
from longboat.core.reasons import EXPIRED
from longboat.errors import BrokerError

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker

TIDY = 5.0
"""Seconds between prunings of the store."""
PRUNED = 1000
"""Notes that are pruned at once."""
TIDYING = 0.5
"""Seconds that one pruning may take: a heartbeat waits for it."""


class Hold(msgspec.Struct):
    """A lease's place in the notes."""

    job: str
    batch: str
    at: float


class StoredConsumer(RabbitmqConsumer):
    def __init__(
        self,
        broker: RabbitmqBroker,
        stored: Stored,
        link: Link,
        queues: list[str],
        tasks: frozenset[str],
        lease: float,
        name: str,
    ) -> None:
        super().__init__(broker, link, queues, tasks, lease, name)
        self._stored = stored
        self._ledger = stored.ledger
        self._name = name or self.id
        self._queues = queues
        self._holds: dict[int, Hold] = {}
        """By the lease's token."""
        self._claims = Claims(stored, self.id, self._name)
        self._asked: set[str] = set()
        self._shown = self._tidied = 0.0
        ear = broker.topology(link).ear(self.id, ended=False)
        link.do(lambda channel, answer: channel.basic_consume(ear, self._hear, auto_ack=True, callback=answer))
        self._show()

    def _hear(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        if body == b"over":
            self._link.end(ConnectionError("it was evicted"))
        self.wake()

    def _show(self) -> None:
        self._shown = time.monotonic()
        worker_presence = WorkerPresence(self._name, self._queues, time.time() + self._lease)
        self._ledger.write([Entry(key("p", self.id), encode(worker_presence), self._lease)])

    # --- receiving

    def _admit(self, leases: list[Lease]) -> list[Lease]:
        with self._changed:
            pairs = [(held, lease) for lease in leases if (held := self._hands.of(lease))]
            here = {hold.job for hold in self._holds.values()}
        if not pairs:
            return []
        now = time.time()
        given, batch = self._claims.take(pairs, here, now)
        kept = {id(lease) for _, lease in given}
        with self._changed:
            for _, lease in given:
                self._holds[lease.token] = Hold(lease.job.id, batch, now)
            dropped = [held for held, lease in pairs if id(lease) not in kept]
            for held in dropped:
                if held.lease is not None:
                    self._hands.claim(held.lease)
        self._finish(dropped)
        return [lease for _, lease in given]

    def _give_back(self, helds: list[Held]) -> None:
        super()._give_back(helds)
        with self._changed:
            for held in helds:
                self._holds.pop(held.tag, None)

    def _put_aside(self, held: Held) -> None:
        if held.lease is None:
            self._bury(held)
        elif not self._aside(held, held.lease):
            super()._put_aside(held)

    def _bury(self, held: Held) -> None:
        """What cannot be decoded is known by an id of its own, which goes with it to the dead jobs."""
        held.envelope.copy = name = new_id()
        failure = undecodable(held)
        end = End(name, State.DEAD, name, time.time(), DEAD_KEPT, failures=[failure], queue=held.queue, message=held.body)
        gone = PutRecord(name, held.queue, over=True)
        self._ledger.write([Entry(key("e", name), encode(end), DEAD_KEPT), Entry(key("m", name), encode(gone), DEAD_KEPT)])
        super()._put_aside(held)

    def _aside(self, held: Held, lease: Lease) -> bool:
        """What has expired, or was parked for too long, ends here; False: it does not."""
        now, envelope, job = time.time(), held.envelope, lease.job
        parked = envelope.parked and job.task not in self._tasks
        if (parked and now < envelope.parked) or (not parked and self._is_for_here(held, lease)):
            seen = left_alone(self._ledger, job.id) if parked else None
            if seen is None or (seen.claim is not None and seen.claim.kind == BACK and envelope.copy in seen.claim.copies):
                return False
            self._finish([held])  # cancelled meanwhile, or a second message
            return True
        seen = left_alone(self._ledger, job.id)
        claim = seen.claim or Claim(BACK, [envelope.copy])
        if not self._claims.stands(held, seen, claim):
            self._finish([held])
            return True
        claim = self._claims.come_back(seen, claim)
        if claim.attempts and not parked:  # it had started in time
            envelope.attempts = claim.attempts
            self._stored.publish([(job, envelope, 0.0, held.body)])
            self._finish([held])
            return True
        failures, by = decode_failures(claim.failures), f"{self.id} {held.tag}"
        if parked:
            told = [*failures, *decode_failures(envelope.why)]
            end = self._ledger.ended(job, State.DEAD, by, attempts=claim.attempts, failures=told)
        else:
            told = [*failures, Failure(EXPIRED, "it expired before it started", at=now)]
            end = self._ledger.ended(job, State.CANCELLED, by, attempts=claim.attempts, failures=told)
        self._stored.end([Ending(job, held.body, end)])
        self._finish([held])
        return True

    # --- settling

    def _record(self, applied: Sequence[tuple[Held, Settlement]], started: Sequence[Held]) -> list[Lease]:
        again = [each.lease.job.id for _, each in applied if isinstance(each.outcome, Retry | Release | Park)]
        seen = {each.id: each for each in self._ledger.look(again)}
        asked = {name for name, each in seen.items() if each.asked}
        ends: list[tuple[Lease, Ending]] = []
        backs: list[tuple[Held, Settlement]] = []
        for held, each in applied:
            if ending := self._ending(held, each, asked):
                ends.append((each.lease, ending))
            else:
                backs.append((held, each))
        over = [each.lease for _, each in applied]
        entries = [*self._begun(started), *self._emptied(over), *self._answered(applied, asked)]
        hold = self._stored.end([ending for _, ending in ends], entries)
        refused = [lease for (lease, _), holds in zip(ends, hold, strict=True) if not holds]
        for held in started:
            held.noted = True
        with self._changed:
            for lease in over:
                self._holds.pop(lease.token, None)
        return refused + self._put_back(backs, seen)

    def _put_back(self, backs: Sequence[tuple[Held, Settlement]], seen: Mapping[str, Seen]) -> list[Lease]:
        """What is to run again; returns the leases of what another holds."""
        refused: list[Lease] = []
        items: list[tuple[Job, Envelope, float, bytes]] = []
        parked: list[Entry] = []
        for held, each in backs:
            job, delay = each.lease.job, delay_of(each.outcome)
            new = envelopes.after(held.envelope, each.lease.attempt, each.outcome)
            new.copy, new.again = new_id(), False
            due = time.time() + delay if delay > 0 and not new.parked else 0.0
            if not self._claims.give_up(held, job, new, due, seen[job.id]):
                refused.append(each.lease)
                continue
            items.append((job, new, delay, held.body))
            if new.parked:
                parked.append(Entry(timed(new.parked, job.id), job.id.encode()))
        self._ledger.write(parked)
        self._stored.publish(items)
        return refused

    def _begun(self, started: Sequence[Held]) -> list[Entry]:
        names = [held.lease.job.id for held in started if held.lease is not None]
        return [Entry(pair("s", self.id, name), b"", DEAD_KEPT) for name in names]

    def _ending(self, held: Held, each: Settlement, asked: Collection[str]) -> Ending | None:
        lease, envelope, job = each.lease, held.envelope, each.lease.job
        by, failures = f"{self.id} {lease.token}", decode_failures(envelope.failures)
        hold = self._holds.get(lease.token)
        match each.outcome:
            case Done(result):
                end = self._ledger.ended(job, State.SUCCEEDED, by, attempts=lease.attempt, failures=failures, result=result)
            case Dead(failure, counted):
                attempts = lease.attempt if counted else envelope.attempts
                end = self._ledger.ended(job, State.DEAD, by, attempts=attempts, failures=[*failures, failure])
            case Cancelled(failure):
                told = [*failures, failure]
                end = self._ledger.ended(job, State.CANCELLED, by, attempts=envelope.attempts, failures=told)
            case _ if job.id in asked:
                new = envelopes.after(envelope, lease.attempt, each.outcome)
                return self._stored.cancelled(job, held.body, by, attempts=new.attempts, failures=new.failures)
            case _:
                return None
        end.started = hold.at if hold else None
        return Ending(job, held.body, end)

    def _emptied(self, over: Sequence[Lease]) -> list[Entry]:
        """The notes of batches of which nothing is held any more."""
        tokens = {lease.token for lease in over}
        with self._changed:
            left = Counter(hold.batch for token, hold in self._holds.items() if token not in tokens)
            batches = {hold.batch for token, hold in self._holds.items() if token in tokens}
        return [Entry(batch, None) for batch in batches if not left[batch]]

    def _answered(self, applied: Sequence[tuple[Held, Settlement]], asked: Collection[str]) -> list[Entry]:
        """What was noted of these leases goes with them."""
        told = self._asked | set(asked)
        entries: list[Entry] = []
        for held, each in applied:
            name = each.lease.job.id
            if name in told:
                entries.append(Entry(pair("a", self.id, name), None))
            if held.noted:
                entries.append(Entry(pair("s", self.id, name), None))
        return entries

    # --- heartbeats and the end

    def extend(self) -> Pulse:
        """Also tells others that it lives, and hears of cancellations, where the store can be reached."""
        pulse = super().extend()
        if not pulse.alive:
            return pulse
        with contextlib.suppress(BrokerError):
            if time.monotonic() - self._shown > self._lease / 4:
                self._show()
            self._asked = self._ledger.asked(self.id)
            self._stored.end_due()
            if time.monotonic() - self._tidied > TIDY:
                self._tidied = time.monotonic()
                self._prune()
        with self._changed:
            here = {hold.job for hold in self._holds.values()}
        return Pulse(True, sorted(self._asked & here))

    def _prune(self) -> None:
        """Jobs leave several notes each: all that is over goes, or they would become ever more."""
        until = time.monotonic() + TIDYING
        while self._stored.store.inspector.prune(limit=PRUNED) >= PRUNED and time.monotonic() < until:
            pass

    def _hand_back(self) -> None:
        with contextlib.suppress(BrokerError):  # then these count as given up by one who died
            if self._link.lost is None:
                self._release()
            self._stored.gone(self.id)
        super()._hand_back()

    def _release(self) -> None:
        with self._changed:
            leases = [held.lease for held in self._hands.leases() if held.lease and held.lease.token in self._holds]
            pairs = [(held, lease) for lease in leases if (held := self._hands.of(lease))]
        endings: list[Ending] = []
        seen = self._ledger.look([lease.job.id for _, lease in pairs])
        for (held, lease), each in zip(pairs, seen, strict=True):
            job, envelope = lease.job, held.envelope
            if each.asked:
                by = f"{self.id} {held.tag}"
                ending = self._stored.cancelled(job, held.body, by, attempts=envelope.attempts, failures=envelope.failures)
                endings.append(ending)
            else:
                self._claims.give_up(held, job, envelope, 0.0, each)
        self._stored.end(endings)
