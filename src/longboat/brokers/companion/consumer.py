"""CompanionConsumer: claims in the KV what it leases, and writes there what it settles, before it acknowledges."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from longboat.brokers.companion.claims import Claims
from longboat.brokers.companion.endings import Ending, Endings
from longboat.brokers.companion.entries import BACK, Claim, ConsumerRecord, End, PutRecord, key, pair, timed
from longboat.brokers.companion.ledger import Seen, encode
from longboat.brokers.companion.marks import left_alone
from longboat.contract.broker import DEAD_KEPT, Lease, Pulse, Settlement
from longboat.contract.carried import CarriedConsumer, why_not
from longboat.contract.carrier import Delivery, Message, Receiver
from longboat.contract.kv import Entry
from longboat.contract.messages import PARK_PAUSE, message_of, next_envelope
from longboat.core import reasons
from longboat.core.codec import decode_failures
from longboat.core.job import Done, Job, Park, Release, Retry, State, new_id
from longboat.core.transitions import Transition, after
from longboat.core.views import job_or_none
from longboat.errors import BrokerError


class Hold(msgspec.Struct):
    """A lease's place in the ledger."""

    job: str
    batch: str
    at: float


class Worker(msgspec.Struct):
    """Whose consumer it is."""

    name: str
    queues: list[str]
    tasks: frozenset[str]
    lease: float


class CompanionConsumer(CarriedConsumer):
    _puts_back = False

    def __init__(
        self,
        receiver: Receiver,
        worker: Worker,
        claims: Claims,
        endings: Endings,
        send: Callable[[Sequence[Message]], None],
    ) -> None:
        self._ledger = endings.ledger
        super().__init__(receiver, send, worker.tasks, self._ledger.clock)
        self._worker = worker
        self._claims = claims
        self._endings = endings
        self._holds: dict[int, Hold] = {}
        """By the lease's token."""
        self._started: set[str] = set()
        """Jobs whose start the ledger says."""
        self._asked: set[str] = set()
        self._show()

    def _show(self) -> None:
        self._shown = self._clock.monotonic()
        worker = self._worker
        record = ConsumerRecord(worker.name, worker.queues, self._clock.now() + worker.lease)
        self._ledger.write([Entry(key("p", self.id), encode(record), worker.lease)])

    # --- receiving

    def _admit(self, deliveries: list[Delivery]) -> list[Delivery]:
        pairs = [(each, each.lease) for each in deliveries if each.lease]
        with self._lock:
            here = {hold.job for hold in self._holds.values()}
        given, batch = self._claims.take(pairs, here)
        now = self._clock.now()
        with self._lock:
            for _, lease in given:
                self._holds[lease.token] = Hold(lease.job.id, batch, now)
        kept = {delivery.tag for delivery, _ in given}
        self._receiver.acknowledge([each for each in deliveries if each.tag not in kept])
        return [delivery for delivery, _ in given]

    def _set_aside(self, delivery: Delivery) -> None:
        if delivery.lease is None:
            if job := job_or_none(delivery.body):
                self._end_unreadable(delivery, job)
                return
            self._name_undecodable(delivery)
        elif self._has_ended(delivery, delivery.lease):
            self._receiver.acknowledge([delivery])
            return
        super()._set_aside(delivery)

    def _name_undecodable(self, delivery: Delivery) -> None:
        """It is known by an id of its own, which goes with it to the dead jobs."""
        delivery.envelope.copy = name = new_id()
        now = self._clock.now()
        failures = [reasons.undecodable(why_not(delivery), now)]
        end = End(name, State.DEAD, name, now, DEAD_KEPT, failures=failures, queue=delivery.queue)
        end.message, large = self._ledger.split("g", name, delivery.body, DEAD_KEPT)
        end.pieces = len(large)
        gone = PutRecord(name, delivery.queue, over=True)
        entries = [Entry(key("e", name), encode(end), DEAD_KEPT), Entry(key("m", name), encode(gone), DEAD_KEPT)]
        self._ledger.write([*entries, *large])

    def _end_unreadable(self, delivery: Delivery, job: Job) -> None:
        """What came beside the body cannot be read, such as which message of the job this is: the job is dead."""
        by, now = f"{self.id} {delivery.tag}", self._clock.now()
        end = self._ledger.ended(job, State.DEAD, by, attempts=0, failures=[reasons.undecodable(why_not(delivery), now)])
        self._endings.end([Ending(job, delivery.body, end)])
        self._receiver.acknowledge([delivery])

    def _has_ended(self, delivery: Delivery, lease: Lease) -> bool:
        """What has expired, or was parked for too long, ends here; False: it goes round as it is."""
        now, envelope, job = self._clock.now(), delivery.envelope, lease.job
        parked = bool(envelope.parked) and job.task not in self._tasks
        seen = left_alone(self._ledger, job.id)
        if parked and now < envelope.parked:  # else it was cancelled meanwhile, or this is a second message
            claim = seen.claim
            return claim is None or claim.kind != BACK or envelope.copy not in claim.copies
        claim = seen.claim or Claim(BACK, [envelope.copy])
        if not self._claims.stands(delivery, seen, claim):
            return True
        claim = self._claims.come_back(seen, claim)
        if claim.attempts and not parked:  # it had started in time
            envelope.attempts = claim.attempts
            self._send([message_of(job, delivery.body, envelope)])
            return True
        by = f"{self.id} {delivery.tag}"
        self._endings.end([self._endings.out_of_time(job, delivery.body, claim, parked=parked, by=by)])
        return True

    # --- settling

    def _record(self, applied: Sequence[tuple[Delivery, Settlement]], started: Iterable[Delivery]) -> list[Lease]:
        again = [each.lease.job.id for _, each in applied if isinstance(each.outcome, Retry | Release | Park)]
        seen = {each.id: each for each in self._ledger.look(again)}
        asked = {name for name, each in seen.items() if each.asked}
        ends: list[tuple[Lease, Ending]] = []
        backs: list[tuple[Delivery, Lease, Transition]] = []
        for delivery, each in applied:
            then = self._end_or_then(delivery, each, asked)
            if isinstance(then, Ending):
                ends.append((each.lease, then))
            else:
                backs.append((delivery, each.lease, then))
        over = [each.lease for _, each in applied]
        names = [each.lease.job.id for each in started if each.lease]
        begun = [Entry(pair("s", self.id, name), b"", DEAD_KEPT) for name in names]
        entries = [*begun, *self._emptied(over), *self._answered(over, asked)]
        hold = self._endings.end([ending for _, ending in ends], entries)
        refused = [lease for (lease, _), holds in zip(ends, hold, strict=True) if not holds]
        with self._lock:
            self._started.update(names)
            for lease in over:
                self._holds.pop(lease.token, None)
                self._started.discard(lease.job.id)
        return refused + self._put_back(backs, seen)

    def _end_or_then(self, delivery: Delivery, each: Settlement, asked: Collection[str]) -> Ending | Transition:
        """How the job ends; what becomes of it if it does not."""
        lease, envelope, job = each.lease, delivery.envelope, each.lease.job
        by, failures = f"{self.id} {lease.token}", decode_failures(envelope.failures)
        if isinstance(each.outcome, Done):
            result = each.outcome.result
            end = self._ledger.ended(job, State.SUCCEEDED, by, attempts=lease.attempt, failures=failures, result=result)
        else:
            now, attempts = self._clock.now(), envelope.attempts
            then = after(each.outcome, cancelled=job.id in asked, now=now, attempts=attempts)
            if not then.state.ended:
                return then
            told = [*failures, *then.failures]
            end = self._ledger.ended(job, then.state, by, attempts=attempts + then.counts, failures=told)
        hold = self._holds.get(lease.token)
        end.started = hold.at if hold else None
        return Ending(job, delivery.body, end)

    def _put_back(self, backs: Sequence[tuple[Delivery, Lease, Transition]], seen: Mapping[str, Seen]) -> list[Lease]:
        """What is to run again; returns the leases of what another holds."""
        refused: list[Lease] = []
        messages: list[Message] = []
        due_again: list[Entry] = []
        for delivery, lease, then in backs:
            job, now = lease.job, self._clock.now()
            new = next_envelope(delivery.envelope, then, now)
            new.copy = new_id()
            delay = min(PARK_PAUSE, then.delay) if then.parked else then.delay
            due = now + delay if delay > 0 and not then.parked else 0.0
            if not self._claims.give_up(delivery, job, new, due, seen[job.id]):
                refused.append(lease)
                continue
            messages.append(message_of(job, delivery.body, new, delay))
            if new.parked:
                due_again.append(Entry(timed(new.parked, job.id), job.id.encode()))
            due_again += self._ledger.expiry(job, new, new.put)
        self._ledger.write(due_again)
        self._send(messages)
        return refused

    def _emptied(self, over: Sequence[Lease]) -> list[Entry]:
        """The entries of batches of which nothing is held any more."""
        tokens = {lease.token for lease in over}
        with self._lock:
            left = Counter(hold.batch for token, hold in self._holds.items() if token not in tokens)
            batches = {hold.batch for token, hold in self._holds.items() if token in tokens}
        return [Entry(batch, None) for batch in batches if not left[batch]]

    def _answered(self, over: Sequence[Lease], asked: Collection[str]) -> list[Entry]:
        """What the ledger says of these leases goes with them."""
        told = self._asked | set(asked)
        names = [lease.job.id for lease in over]
        with self._lock:
            started = self._started.intersection(names)
        gone = [pair("a", self.id, name) for name in names if name in told] + [pair("s", self.id, name) for name in started]
        return [Entry(name, None) for name in gone]

    # --- heartbeats and the end

    def extend(self) -> Pulse:
        """Also tells others that it lives, and learns of cancellations, where the store can be reached."""
        if self._clock.monotonic() - self._shown >= self._worker.lease:  # others have taken it for dead
            self._receiver.close()
        pulse = super().extend()
        if not pulse.alive:
            return pulse
        with contextlib.suppress(BrokerError):
            if self._clock.monotonic() - self._shown > self._worker.lease / 4:
                self._show()
            self._asked = self._ledger.asked(self.id)
        with self._lock:
            here = {hold.job for hold in self._holds.values()}
        return Pulse(True, sorted(self._asked & here))

    def _hand_back(self) -> None:
        with contextlib.suppress(BrokerError):  # then these count as given up by one who died
            if not self._receiver.over:
                self._release()
            self._ledger.forget_consumer(self.id)

    def _release(self) -> None:
        endings: list[Ending] = []
        due_again: list[Entry] = []
        pairs = [(each, each.lease) for each in self.leases() if each.lease]
        seen = self._ledger.look([lease.job.id for _, lease in pairs])
        for (delivery, lease), each in zip(pairs, seen, strict=True):
            if each.asked:
                by = f"{self.id} {delivery.tag}"
                endings.append(self._endings.cancelled(lease.job, delivery.body, delivery.envelope, by=by))
            elif self._claims.give_up(delivery, lease.job, delivery.envelope, 0.0, each):
                due_again += self._ledger.expiry(lease.job, delivery.envelope, delivery.envelope.put)
        self._endings.end(endings, due_again)
