"""CarriedConsumer: what the consumers of all brokers over a carrier share. Leases are deliveries; outcomes are messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from longboat.contract import chains
from longboat.contract.broker import Lease, Pulse, Settlement
from longboat.contract.carrier import Delivery, Message, Receiver
from longboat.contract.flow_ends import FlowEnds
from longboat.contract.held import Held
from longboat.contract.messages import PARK_PAUSE, gather, message_of, next_message, next_messages
from longboat.contract.replies import Replies
from longboat.contract.revoked import Revoked
from longboat.core import reasons
from longboat.core.clock import Clock
from longboat.core.codec import decode_failures, decode_job
from longboat.core.job import DEFAULT_KEEP, Cancelled, Dead, Done, Failure, Job, Release, Result, State, new_id
from longboat.core.transitions import after
from longboat.errors import Undecodable

SET_ASIDE = 0.1
"""Seconds that a receive goes on at least while there are messages, but none that can be leased."""


_STATES = {Done: State.SUCCEEDED, Dead: State.DEAD, Cancelled: State.CANCELLED}
"""How a job has ended, by its outcome."""


class Alone(msgspec.Struct):
    """What a broker of messages alone gives its consumers."""

    tell: Callable[[Sequence[tuple[str, bytes]]], None]
    """Puts messages into mailboxes: results for whoever put a job."""
    succeeded: chains.Succeeded
    revoked: Revoked | None = None
    """Jobs that are not to run."""
    held: Held | None = None
    """The unique keys of jobs."""
    flow_ends: FlowEnds | None = None
    """How the jobs of flows ended."""


class CarriedConsumer:
    """A consumer of messages alone: what comes back or is dead is sent again, and then the old message is acknowledged.

    A crash between the two leaves both. Brokers that know more override `_admit`, `_record` and `_set_aside`.
    """

    _puts_back = True
    """What is released goes back as it is: its message need say nothing new."""

    def __init__(
        self,
        receiver: Receiver,
        send: Callable[[Sequence[Message]], None],
        tasks: frozenset[str],
        clock: Clock,
        alone: Alone | None = None,
    ) -> None:
        """`alone`: what a broker of messages alone does for want of a KV."""
        self.id = receiver.id
        self._receiver = receiver
        self._send = send
        self._known = self._tasks = tasks
        self._clock = clock
        self._replies = Replies(alone.tell) if alone else None
        self._succeeded = alone.succeeded if alone else chains.Succeeded()
        self._revoked = alone.revoked if alone else None
        self._held = alone.held if alone else None
        self._flow_ends = alone.flow_ends if alone else None
        self._ended: list[tuple[Job, Failure]] = []
        """To be told at the next heartbeat."""
        self._lock = threading.Lock()
        self._leased: dict[int, Delivery] = {}
        """By the lease's token."""
        self._chained: dict[tuple[str, str], Delivery] = {}
        """By their keys, those of `_leased` that belong to chains: a second message of such a job is not needed."""
        self._closed = False

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        end, patience = self._clock.monotonic() + wait, time.monotonic() + SET_ASIDE
        while not self._closed and (deliveries := self._receiver.receive(n, wait=wait)):
            taken: list[Delivery] = []
            try:
                for each in deliveries:
                    if self._is_for_here(each):
                        taken.append(each)
                    else:
                        self._set_aside(each)
                taken = self._admit(taken) if taken else taken
            except BaseException:
                self._receiver.reject(deliveries)
                raise
            leases, again = self._lease(taken)
            if again:
                self._receiver.acknowledge(again)
            wait = max(0.0, end - self._clock.monotonic())
            if leases or (not wait and time.monotonic() > patience):
                return leases
        return []

    def _lease(self, taken: Sequence[Delivery]) -> tuple[list[Lease], list[Delivery]]:
        """These leases, and beside them second messages of jobs in chains, which this process has run or runs by another."""
        leases: list[Lease] = []
        again: list[Delivery] = []
        with self._lock:
            for each in taken:
                if each.lease is None:
                    continue
                if each.chain:
                    key = each.chain.key(each.lease.job.id)
                    if key in self._succeeded or key in self._chained:
                        again.append(each)
                        continue
                    self._chained[key] = each
                self._leased[each.lease.token] = each
                leases.append(each.lease)
        return leases, again

    def _is_for_here(self, delivery: Delivery) -> bool:
        """False: it cannot be decoded, has expired, or is parked for others. Gives it its lease."""
        envelope = delivery.envelope
        try:
            delivery.lease = lease_of(delivery)
        except Undecodable:
            return False
        job = delivery.lease.job
        if envelope.parked and job.task not in self._tasks:
            return False
        return job.expires is None or envelope.attempts > 0 or self._clock.now() < envelope.put + job.expires

    def _admit(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Those that may be leased; the others have been dealt with."""
        if self._revoked is not None and self._revoked.any:
            deliveries = self._unrevoked(self._revoked, deliveries)
        if self._held is not None:
            self._held.started(deliveries)
        return deliveries

    def _unrevoked(self, revoked: Revoked, deliveries: list[Delivery]) -> list[Delivery]:
        unwanted = revoked.unwanted(deliveries)
        for each in unwanted:
            self._end(each, reasons.cancelled(self._clock.now(), each.envelope.attempts))
        self._reply()
        self._receiver.acknowledge(unwanted)
        revoked.end([each.lease.job.id for each in unwanted if each.lease])
        gone = set(unwanted)
        return [each for each in deliveries if each not in gone]

    def _end(self, delivery: Delivery, failure: Failure) -> None:
        """It is cancelled before anybody leased it."""
        self._over(delivery, State.CANCELLED)
        self._add_reply(delivery, State.CANCELLED, failure)
        if delivery.lease is not None:
            with self._lock:
                self._ended.append((delivery.lease.job, failure))

    def _set_aside(self, delivery: Delivery) -> None:
        """What cannot be decoded becomes dead, what is parked waits on unless it is revoked, what has expired is over."""
        revoked = self._revoked
        if delivery.lease and revoked is not None and revoked.any and not self._unrevoked(revoked, [delivery]):
            return
        envelope, now = delivery.envelope, self._clock.now()
        if delivery.lease is None:
            failure = reasons.undecodable(why_not(delivery), now)
            envelope.failures = envelope.failed(failure)
            self._send([Message(envelope.copy or new_id(), delivery.queue, 0, delivery.body, envelope, dead=True)])
            self._tell(delivery, Result(delivery.id, State.DEAD, None, failure), DEFAULT_KEEP)
        elif envelope.parked and delivery.lease.job.task not in self._tasks:
            over = now >= envelope.parked
            if over:
                self._over(delivery, State.DEAD)
                failures = decode_failures(envelope.why)
                envelope.failures = envelope.failed(*failures)
                self._add_reply(delivery, State.DEAD, failures[-1] if failures else None)
            delay = 0.0 if over else min(PARK_PAUSE, envelope.parked - now)
            self._send([message_of(delivery.lease.job, delivery.body, envelope, delay, dead=over)])
        else:
            self._end(delivery, reasons.expired(now))
        self._reply()
        self._receiver.acknowledge([delivery])

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        """Records what an acknowledgement does not say, then acknowledges.

        An acknowledgement that is lost with the connection lets the message come back.
        """
        begun, refused = self._begun(started)
        applied, back = self._taken_out(settlements, refused)
        try:
            refused += self._record(applied, [each for each in begun if not each.settling])
            if back:
                self._receiver.reject(back)
        except BaseException:
            with self._lock:
                for delivery in (*back, *(delivery for delivery, _ in applied)):
                    delivery.settling = False
                    self._leased[delivery.lease.token] = delivery  # type: ignore[union-attr]  # all were leased
            raise
        self._receiver.acknowledge([delivery for delivery, _ in applied])
        if self._revoked is not None and self._revoked.any:
            over = [each for _, each in applied if isinstance(each.outcome, Done | Dead | Cancelled)]
            self._revoked.end([each.lease.job.id for each in over])
        if self._chained:
            self._remember(applied)
        return refused

    def _begun(self, started: Sequence[Lease]) -> tuple[list[Delivery], list[Lease]]:
        """What these leases hold, and beside it those that hold nothing any more."""
        with self._lock:
            leased = {} if self._closed or self._receiver.over else self._leased
            begun = [each for lease in started if (each := leased.get(lease.token)) and each.lease is lease]
        hold = {each.lease for each in begun}
        return begun, [lease for lease in started if lease not in hold]

    def _taken_out(
        self, settlements: Sequence[Settlement], refused: list[Lease]
    ) -> tuple[list[tuple[Delivery, Settlement]], list[Delivery]]:
        """What is to be settled, and what only goes back. `refused` gains the leases of the others."""
        applied: list[tuple[Delivery, Settlement]] = []
        back: list[Delivery] = []
        with self._lock:
            leased = {} if self._closed or self._receiver.over else self._leased
            for settlement in settlements:
                delivery = leased.get(settlement.lease.token)
                if delivery is None or delivery.lease is not settlement.lease:
                    refused.append(settlement.lease)
                    continue
                del leased[settlement.lease.token]
                delivery.settling = True
                outcome = settlement.outcome
                if type(outcome) is Release and self._puts_back and not outcome.delay:
                    back.append(delivery)
                else:
                    applied.append((delivery, settlement))
                if delivery.chain and type(outcome) is not Done:  # a message that follows is not a second one
                    self._chained.pop(delivery.chain.key(settlement.lease.job.id), None)
        return applied, back

    def _remember(self, applied: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Which jobs of chains have succeeded."""
        done = [each for each, settlement in applied if each.chain and type(settlement.outcome) is Done]
        keys = [each.chain.key(each.lease.job.id) for each in done if each.chain and each.lease]
        self._succeeded.add(keys)
        with self._lock:
            for key in keys:
                self._chained.pop(key, None)

    def _record(self, applied: Sequence[tuple[Delivery, Settlement]], started: Iterable[Delivery]) -> list[Lease]:
        """Make durable what the acknowledgements that follow do not say; returns leases whose jobs have ended otherwise.

        Starts are noted of jobs that a worker died over.
        """
        if risky := [each for each in started if each.lease and each.lease.worker_deaths]:
            self._receiver.note_started(risky)
        if keyed := [each for each in applied if each[0].chain or each[1].lease.job.constraints is not None]:
            self._note_ends(keyed)
        messages: list[Message] = []
        for delivery, settlement in applied:
            outcome = settlement.outcome
            if type(outcome) is Done:
                if delivery.chain:
                    gather(next_messages(delivery.chain, outcome.result), messages, self._send)
                continue
            now, attempts = self._clock.now(), delivery.envelope.attempts
            then = after(outcome, cancelled=False, now=now, attempts=attempts)
            if type(outcome) is not Cancelled:
                messages.append(next_message(delivery, settlement.lease.job, then, now))
        if messages:
            self._send(messages)
        if self._replies:
            self._add_replies(applied)
        self._reply()
        return []

    def _note_ends(self, applied: Sequence[tuple[Delivery, Settlement]]) -> None:
        for delivery, settlement in applied:
            if (state := _STATES.get(type(settlement.outcome))) is not None:
                self._over(delivery, state)

    def _over(self, delivery: Delivery, state: State) -> None:
        """The job has ended: its unique key is let go of before anybody is told, who may call anew."""
        if self._held is not None:
            self._held.ended(delivery, in_vain=state is not State.SUCCEEDED)
        if self._flow_ends is not None and delivery.lease is not None:
            self._flow_ends.add(delivery.lease.job, state, delivery.chain)

    def _add_replies(self, applied: Sequence[tuple[Delivery, Settlement]]) -> None:
        for delivery, settlement in applied:
            match settlement.outcome:
                case Done(value):
                    self._add_reply(delivery, State.SUCCEEDED, None, value, attempts=1)
                case Dead(failure, counted):
                    self._add_reply(delivery, State.DEAD, failure, attempts=int(counted))
                case Cancelled(failure):
                    self._add_reply(delivery, State.CANCELLED, failure)

    def _add_reply(
        self, delivery: Delivery, state: State, failure: Failure | None, value: bytes | None = None, *, attempts: int = 0
    ) -> None:
        """`attempts`: made beside those that travelled."""
        if delivery.lease and (delivery.envelope.reply or delivery.chain):
            job, attempts = delivery.lease.job, delivery.envelope.attempts + attempts
            self._tell(delivery, Result(job.id, state, value, failure, job.task, attempts), job.keep)

    def _tell(self, delivery: Delivery, result: Result, keep: float) -> None:
        """Who put the job; of a job that is dead or cancelled also who waits for one that comes after it."""
        if self._replies is None:
            return
        if delivery.chain and result.state is not State.SUCCEEDED and (waiting := delivery.chain.waiting()):
            self._replies.add(delivery.chain.reply, result, max(keep, DEFAULT_KEEP), waiting)
        else:
            self._replies.add(delivery.envelope.reply, result, keep)

    def _reply(self) -> None:
        if self._flow_ends is not None:
            self._flow_ends.write()
        if self._replies:
            self._replies.send()

    def leases(self) -> list[Delivery]:
        with self._lock:
            return list(self._leased.values())

    def extend(self) -> Pulse:
        alive = self._receiver.extend()  # first: the others may wait for a server that does not answer
        self._reply()
        if self._held is not None:
            self._held.again()
        with self._lock:
            ended, self._ended = self._ended, []
        cancelled: list[str] = []
        if self._revoked is not None and self._revoked.any:
            cancelled = [each.lease.job.id for each in self._revoked.unwanted(self.leases()) if each.lease]
        return Pulse(alive, cancelled, ended)

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._tasks = self._known - set(tasks)
        self._receiver.pause(queues)

    def wake(self) -> None:
        self._receiver.wake()

    def close(self) -> None:
        """What is held comes back."""
        if not self._closed:
            self._closed = True
            self._receiver.wake()
            try:
                self._hand_back()
            finally:
                self._receiver.close()

    def _hand_back(self) -> None:
        """Whatever must be said before the receiver ends."""


def lease_of(delivery: Delivery) -> Lease:
    """Raises Undecodable."""
    envelope = delivery.envelope
    if envelope.unreadable:
        raise Undecodable(envelope.unreadable)
    if envelope.chain:
        delivery.chain = chains.decode(envelope.chain)
    failures = len(decode_failures(envelope.failures)) if envelope.failures else 0
    job = decode_job(delivery.body)
    inputs = delivery.chain.inputs(job) if delivery.chain else ()
    return Lease(job, envelope.attempts + 1, delivery.tag, envelope.worker_deaths, failures, inputs)


def why_not(delivery: Delivery) -> str:
    """Why it cannot be decoded."""
    try:
        lease_of(delivery)
    except Undecodable as error:
        return str(error)
    return ""
