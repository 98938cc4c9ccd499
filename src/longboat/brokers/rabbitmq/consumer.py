"""RabbitmqConsumer: one connection that is pushed as many messages as there are free slots, and settles by acks."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from longboat.brokers.rabbitmq import envelope as envelopes
from longboat.brokers.rabbitmq.held import Hands, Held
from longboat.brokers.rabbitmq.holding import Holding
from longboat.brokers.rabbitmq.link import Link, Message
from longboat.brokers.rabbitmq.subscription import Subscription
from longboat.contract.broker import Lease, Pulse, Settlement
from longboat.core.codec import decode_failures
from longboat.core.job import Cancelled, Dead, Done, Failure, Outcome, Park, Release, Retry, new_id
from longboat.core.reasons import UNDECODABLE
from longboat.errors import BrokerError, Undecodable

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker

FIRST = 0.1
"""Seconds that what the server has ready may take to arrive, when it was asked for more than before."""

GRACE = 0.03
"""Seconds that the next of these may take, or what was put just now."""

PARK_PAUSE = 1.0
"""Seconds after which a parked job is looked at again, by whoever receives it."""

TICK = 0.1
"""Seconds between looks at whether anybody still receives and extends."""

WORN = 10
"""Deliveries after which a message is published anew: RabbitMQ 4 drops it at 20."""

OVER = (Done, Cancelled)
"""Outcomes after which there is no further message."""


class RabbitmqConsumer:
    """Its leases live as long as its connection, which it gives up when `extend` is not called for `lease` seconds."""

    def __init__(
        self, broker: RabbitmqBroker, link: Link, queues: list[str], tasks: frozenset[str], lease: float, name: str
    ) -> None:
        self.id = new_id()
        self._broker = broker
        self._link = link
        self._known = self._tasks = tasks
        self._lease = lease
        self._deadline = time.monotonic() + lease
        self._changed = threading.Condition()
        self._hands = Hands()
        self._incoming = Subscription(link, broker.names, queues, self._arrive)
        self._holding = Holding(broker, link, self.id, lease=lease, name=name or self.id, came=self._came)
        self._nudged = self._closed = self._telling = False
        link.on_lost = self.wake
        link.every(min(TICK, lease / 4), self._look)

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        with self._changed:
            self._incoming.receiving += 1
        try:
            return self._receive(n, wait)
        finally:
            with self._changed:
                self._incoming.receiving -= 1
                self._incoming.quiet_since = time.monotonic()

    def _receive(self, n: int, wait: float) -> list[Lease]:
        with self._changed:
            ask = None if self._over() else self._incoming.ask(n, self._hands.leased)
        fresh = ask is not None
        if ask is not None:
            try:
                self._link.do(ask)
            except BrokerError:
                if self._closed:
                    return []
                raise
        patience = time.monotonic() + max(wait, FIRST if fresh else GRACE)
        waiting = self._incoming.waiting
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._nudged or self._over() or waiting() > 0, max(0.0, patience - time.monotonic())
                )
                while fresh and 0 < (before := waiting()) < n and not self._nudged:
                    self._changed.wait_for(lambda seen=before: waiting() > seen, GRACE)  # type: ignore[misc]
                    fresh = waiting() > before
                leases, others = self._take(n)
                over = self._nudged or time.monotonic() >= patience
                self._nudged = False
            taken = leases
            try:
                leases = self._admit(taken)
                for held in others:
                    self._put_aside(held)
            except BaseException:
                self._give_back([*self._held(taken), *others])
                raise
            if leases or over or self._over():
                return leases

    def _admit(self, leases: list[Lease]) -> list[Lease]:
        """Those of what was taken that may be given out."""
        return leases

    def _held(self, leases: Sequence[Lease]) -> list[Held]:
        with self._changed:
            return [held for lease in leases if (held := self._hands.of(lease))]

    def _give_back(self, helds: list[Held]) -> None:
        """Those that are still here go back to their places."""
        with self._changed:
            tags = self._hands.give_back(helds)

            def reject(channel: Any) -> None:
                for tag in tags:
                    channel.basic_reject(tag, requeue=True)

            self._link.post(reject)

    def _over(self) -> bool:
        return self._closed or self._link.lost is not None

    def _arrive(self, at: int, queue: str, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        headers = properties.headers
        envelope = envelopes.opened(headers, redelivered=method.redelivered)
        with self._changed:
            held = self._hands.arrived(queue, body, envelope, method.delivery_tag)
            if headers:
                held.envelope = envelopes.given_up(envelope)
                held.worn = headers.get("x-delivery-count", 0) >= WORN
            self._incoming.arrived[at].append(held)
            if self._incoming.receiving and not self._telling:
                self._telling = True
                self._link.post(self._tell)

    def _tell(self, _channel: Any) -> None:
        """Once for all that arrived together: each wake costs more than what arrives."""
        with self._changed:
            self._telling = False
            self._changed.notify_all()

    def _came(self, token: int, tag: int) -> int | None:
        with self._changed:
            return self._hands.moved(token, tag)

    def _look(self) -> None:
        """In the link's thread, now and then."""
        if time.monotonic() > self._deadline:
            self._link.end(TimeoutError(f"no heartbeat for {self._lease:g} s"))
            return
        self._stop(force=False)

    def _stop(self, *, force: bool) -> None:
        with self._changed:
            back = self._incoming.stop(self._broker.hold, force=force)
            if back is not None:
                self._hands.drop(back)
                self._hands.renew()
                if self._incoming.receiving:  # the next receive asks anew
                    self._nudged = True
                    self._changed.notify_all()

    def _take(self, n: int) -> tuple[list[Lease], list[Held]]:
        """Leases of what has arrived, and beside them what nobody here is to run."""
        leases: list[Lease] = []
        others: list[Held] = []
        if self._over():
            return leases, others
        for arrived in self._incoming.open():
            while arrived and len(leases) < n:
                held = arrived.popleft()
                try:
                    held.lease = envelopes.lease_of(held.body, held.envelope, held.tag)
                except Undecodable:
                    others.append(held)
                    continue
                if held.worn or not self._is_for_here(held, held.lease):
                    others.append(held)
                else:
                    self._hands.take(held)
                    leases.append(held.lease)
        return leases, others

    def _is_for_here(self, held: Held, lease: Lease) -> bool:
        if held.envelope.parked and lease.job.task not in self._tasks:
            return False
        expires = lease.job.expires
        return expires is None or held.envelope.attempts > 0 or time.time() < held.envelope.put + expires

    def _put_aside(self, held: Held) -> None:
        """The undecodable becomes dead, what is parked waits on, what is worn is made anew, what has expired is over."""
        names, envelope, now = self._broker.names, held.envelope, time.time()
        if held.lease is None:
            envelope.failures = envelope.failed(undecodable(held))
            self._broker.send([envelopes.dead(names, held.queue, new_id(), held.body, envelope)], (), 0.0, [held.queue])
        elif envelope.parked and held.lease.job.task not in self._tasks:
            job = held.lease.job
            if now >= envelope.parked:
                envelope.failures = envelope.failed(decode_failures(envelope.why)[0])
                self._broker.send([envelopes.dead(names, job.queue, job.id, held.body, envelope)], (), 0.0, [job.queue])
            else:
                pause = min(PARK_PAUSE, envelope.parked - now)
                self._broker.send([envelopes.ready(names, job, envelope, pause, held.body)], [job.queue], pause)
        elif held.worn and self._is_for_here(held, held.lease):
            job = held.lease.job
            self._broker.send([envelopes.ready(names, job, envelope, 0.0, held.body)], [job.queue], 0.0)
        self._finish([held])

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        """What comes back or is dead is published again, confirmed, and then acknowledged: a crash between leaves both.

        Starts are noted of jobs that a worker died over. An acknowledgement that the server did not get is found out
        when the link is lost; its job then runs again.
        """
        applied: list[tuple[Held, Settlement]] = []
        with self._changed:
            over = self._over()
            begun = [(each, None if over else self._hands.of(each)) for each in started]
            refused = [each for each, held in begun if held is None]
            for settlement in settlements:
                held = None if over else self._hands.claim(settlement.lease)
                if held is None:
                    refused.append(settlement.lease)
                else:
                    applied.append((held, settlement))
        try:
            ending = {held.tag for held, _ in applied}
            refused += self._record(
                applied, [held for _, held in begun if held and not held.noted and held.tag not in ending]
            )
        except BaseException:
            with self._changed:
                for held, _ in applied:
                    self._hands.restore(held)
            raise
        self._finish([held for held, _ in applied])
        return refused

    def _record(self, applied: Sequence[tuple[Held, Settlement]], started: Sequence[Held]) -> list[Lease]:
        """Store what the acknowledgements that follow do not say; returns leases whose jobs have ended otherwise."""
        self._holding.keep([held for held in started if held.lease and held.lease.worker_deaths], noted=True)
        messages = [self._again(held, each.lease, each.outcome) for held, each in applied if type(each.outcome) not in OVER]
        if messages:
            self._send(messages, applied)
        return []

    def _send(self, messages: Sequence[Message], applied: Sequence[tuple[Held, Settlement]]) -> None:
        longest = max((delay_of(each.outcome) for _, each in applied), default=0.0)
        queues = {held.queue for held, each in applied if isinstance(each.outcome, Retry | Release | Park)}
        dead = {held.queue for held, each in applied if isinstance(each.outcome, Dead)}
        self._broker.send(messages, queues, longest, dead)

    def _again(self, held: Held, lease: Lease, outcome: Outcome) -> Message:
        """The message that carries the job on."""
        names, job = self._broker.names, lease.job
        new = envelopes.after(held.envelope, lease.attempt, outcome)
        if isinstance(outcome, Dead):
            return envelopes.dead(names, job.queue, job.id, held.body, new)
        return envelopes.ready(names, job, new, delay_of(outcome), held.body)

    def _finish(self, helds: list[Held]) -> None:
        """Acknowledged: joined as far as all before a tag is over too; the others one by one."""
        if not helds:
            return
        with self._changed:
            upto, singles = self._hands.finish(helds)

            def ack(channel: Any) -> None:
                if upto:
                    channel.basic_ack(upto, multiple=True)
                for tag in singles:
                    channel.basic_ack(tag)

            self._link.post(ack)  # within the lock, so that no later call acknowledges the same before it

    def extend(self) -> Pulse:
        """Sees to it that what is held for long does not meet the server's consumer timeout."""
        if self._over():
            return Pulse(False)
        self._deadline = time.monotonic() + self._lease
        before = time.monotonic() - self._broker.hold
        with self._changed:
            old = [held for held in self._hands.leases() if held.since < before]
        try:
            self._holding.keep(old, noted=False)
        except BrokerError:
            return Pulse(not self._over())  # the next heartbeat tries again
        return Pulse(not self._over())

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        with self._changed:
            self._tasks = self._known - set(tasks)
            self._incoming.paused = frozenset(queues)
        self._link.post(lambda _: self._stop(force=True))

    def wake(self) -> None:
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def close(self) -> None:
        """The server gives back what is held, in its place; it counts that as one return of each."""
        if self._closed:
            return
        self._closed = True
        self.wake()
        try:
            self._hand_back()
        finally:
            self._link.close()

    def _hand_back(self) -> None:
        self._holding.close(self._own)

    def _own(self) -> tuple[list[Held], bool]:
        with self._changed:
            return self._hands.own()


def undecodable(held: Held) -> Failure:
    why = ""
    try:
        envelopes.lease_of(held.body, held.envelope, held.tag)
    except Undecodable as error:
        why = str(error)
    return Failure(UNDECODABLE, why, at=time.time())


def delay_of(outcome: Outcome) -> float:
    match outcome:
        case Retry(delay) | Release(delay):
            return delay
        case Park(patience):
            return min(PARK_PAUSE, patience)
        case _:
            return 0.0
