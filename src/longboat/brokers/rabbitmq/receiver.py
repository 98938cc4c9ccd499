"""RabbitmqReceiver: one connection that is pushed as many messages as it has free slots, and acknowledges many at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from longboat.brokers.rabbitmq.envelope import given_up, opened
from longboat.brokers.rabbitmq.hands import Hands, Held
from longboat.brokers.rabbitmq.holding import Holding
from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.session import Session
from longboat.brokers.rabbitmq.subscription import Subscription
from longboat.contract.carrier import Delivery
from longboat.core.job import new_id
from longboat.errors import BrokerError

FIRST = 0.1
"""Seconds that what the server has ready may take to arrive, when it was asked for more than before."""

GRACE = 0.03
"""Seconds that the next of these may take, or what was put just now."""

TICK = 0.1
"""Seconds between looks at whether anybody still receives and extends."""

WORN = 10
"""Deliveries after which a message is published anew: RabbitMQ 4 drops it at 20."""


class RabbitmqReceiver:
    """Lives as long as its connection, which it gives up when `extend` is not called for `lease` seconds."""

    def __init__(self, session: Session, link: Link, queues: list[str], *, lease: float, hold: float, name: str) -> None:
        self.id = new_id()
        self._session = session
        self._link = link
        self._lease = lease
        self._hold = hold
        self._deadline = time.monotonic() + lease
        self._changed = threading.Condition()
        self._incoming = Subscription(link, session.names, queues, self._arrive)
        self._hands = Hands(len(self._incoming.places))
        self._holding = Holding(session, link, self.id, lease=lease, name=name or self.id, came=self._came)
        self._returning: threading.Thread | None = None
        self._nudged = self._closed = self._telling = False
        link.on_lost = self.wake
        link.every(min(TICK, lease / 4), self._look)

    def listen(self) -> None:
        """From now on it can be woken and evicted from elsewhere."""

        def told(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            if body == OVER:
                self._link.end(ConnectionError("it was evicted"))
            self.wake()

        ear = self._session.topology(self._link).ear(self.id)
        self._link.do(lambda channel, answer: channel.basic_consume(ear, told, auto_ack=True, callback=answer))

    @property
    def over(self) -> bool:
        return self._closed or self._link.lost is not None

    def receive(self, n: int, *, wait: float) -> list[Delivery]:
        with self._changed:
            self._incoming.receiving += 1
        try:
            return self._receive(n, wait)
        finally:
            with self._changed:
                self._incoming.receiving -= 1
                self._incoming.quiet_since = time.monotonic()

    def _receive(self, n: int, wait: float) -> list[Delivery]:
        if (returning := self._returning) is not None:  # what is on its way back is not to be missed
            returning.join(self._session.timeout)
        with self._changed:
            ask = None if self.over else self._incoming.ask(n, self._hands.leased)
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
                    lambda: self._nudged or self.over or waiting() > 0, max(0.0, patience - time.monotonic())
                )
                while fresh and 0 < (before := waiting()) < n and not self._nudged:
                    self._changed.wait_for(lambda seen=before: waiting() > seen, GRACE)  # type: ignore[misc]  # mypy cannot type a default of a lambda
                    fresh = waiting() > before
                taken, worn = self._take(n)
                end = self._nudged or time.monotonic() >= patience
                self._nudged = False
            try:
                self._renew(worn)
            except BaseException:
                self.reject(taken)
                raise
            if taken or end or self.over:
                return list(taken)

    def _take(self, n: int) -> tuple[list[Held], list[Held]]:
        """What has arrived, and beside it what is to be published anew."""
        taken: list[Held] = []
        worn: list[Held] = []
        for arrived in () if self.over else self._incoming.open():
            while arrived and len(taken) < n:
                held = arrived.popleft()
                if held.worn:
                    worn.append(held)
                else:
                    self._hands.take(held)
                    taken.append(held)
        return taken, worn

    def _renew(self, helds: list[Held]) -> None:
        """Publish them anew, as what the server takes back counts as held by one more worker that died."""
        if not helds:
            return
        try:
            self._session.send([each.message(each.envelope) for each in helds])
        except BaseException:
            # They stay in this hand. Those of its own queue are given out still, and whoever settles them tries again.
            with self._changed:
                free = [each for each in helds if not (each.own or each.noted)]
                self._hands.put_back(free)
                self._incoming.keep([each for each in free if self._hands.holds(each)])
            raise
        self.acknowledge(helds)

    def _give_back(self, untaken: list[Held], before: threading.Thread | None) -> None:
        if before is not None:  # what is older goes first, and who waits for this one waits for both
            before.join()
        with contextlib.suppress(BrokerError):  # the next look tries again
            # No consumer that is being cancelled is to get them: answers come in order.
            self._link.do(lambda channel, answered: channel.basic_qos(callback=answered))
            self._renew(untaken)

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        """They stay here, in their places, while others have what they can start. Those of its own queue go back at once.

        Nothing is rejected: the server counts that as a death, and a quorum queue puts it last (tried on 3.10).
        """
        with self._changed:
            helds = [each for each in deliveries if isinstance(each, Held)]
            self._incoming.keep(self._hands.put_back([each for each in helds if not (each.own or each.noted)]))
            self._changed.notify_all()
        self._renew([each for each in helds if each.own or each.noted])

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Joined as far as all before a tag is done with too; the others one by one."""
        if not deliveries:
            return
        with self._changed:
            upto, singles = self._hands.finish(deliveries)

            def ack(channel: Any) -> None:
                if upto:
                    channel.basic_ack(upto, multiple=True)
                for tag in singles:
                    channel.basic_ack(tag)

            self._link.post(ack)  # within the lock, so that no later call acknowledges the same before it

    def note_started(self, deliveries: Sequence[Delivery]) -> None:
        self._holding.keep([each for each in deliveries if isinstance(each, Held) and not each.noted], noted=True)

    def extend(self) -> bool:
        """Sees to it that what is held for long does not meet the server's consumer timeout."""
        if self.over:
            return False
        self._deadline = time.monotonic() + self._lease
        before = time.monotonic() - self._hold
        with self._changed:
            old = [held for held in self._hands.out() if held.since < before]
        with contextlib.suppress(BrokerError):  # the next heartbeat tries again
            self._holding.keep(old, noted=False)
        return not self.over

    def pause(self, queues: Collection[str]) -> None:
        with self._changed:
            self._incoming.paused = frozenset(queues)
        self._link.post(lambda _: self._stop(force=True))

    def wake(self) -> None:
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def close(self) -> None:
        """What nobody has taken goes back. The server takes back what is leased, and counts that as one death of each."""
        if self._closed:
            return
        self._closed = True
        self.wake()
        with contextlib.suppress(BrokerError):
            self._link.do(self._end)
            if self._returning is not None:
                self._returning.join(self._session.timeout)
            with self._changed:
                late = self._incoming.untaken()
            self._renew(late)
        try:
            self._holding.close(self._own)
        finally:
            self._link.close()

    # --- in the link's thread

    def _arrive(self, at: int, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        queue, level = self._incoming.places[at]
        headers = properties.headers
        envelope, job = opened(headers, body, redelivered=method.redelivered, reply=properties.reply_to)
        held = Held(queue, job, envelope, method.delivery_tag, id=properties.message_id or "", level=level, place=at)
        if headers:
            held.envelope = given_up(envelope)
            held.worn = not envelope.unreadable and headers.get("x-delivery-count", 0) >= WORN
        with self._changed:
            self._hands.arrived(held)
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

    def _own(self) -> tuple[list[Held], bool]:
        with self._changed:
            return self._hands.own()

    def _look(self) -> None:
        if time.monotonic() > self._deadline:
            self._link.end(TimeoutError(f"no heartbeat for {self._lease:g} s"))
            return
        self._stop()
        with self._changed:
            self._incoming.look_for_others(self._stop)

    def _end(self, channel: Any, answered: Any) -> None:
        self._stop(whole=True)
        channel.basic_qos(callback=answered)

    def _stop(self, *, force: bool = False, whole: bool = False) -> None:
        with self._changed:
            back = self._incoming.stop(self._hold, force=force, whole=whole)
            if back is None:
                return
            self._hands.renew()
            if self._incoming.receiving:  # the next receive asks anew
                self._nudged = True
                self._changed.notify_all()
        if back:  # the link's thread waits for nobody
            args = back, self._returning
            returning = threading.Thread(target=self._give_back, args=args, daemon=True, name="longboat-rabbitmq-back")
            returning.start()  # before others see it: who joins a thread that has not started is refused
            self._returning = returning


OVER = b"over"
"""Told to a receiver that was evicted."""
