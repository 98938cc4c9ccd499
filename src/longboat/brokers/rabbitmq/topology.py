"""Queues and exchanges, declared when they are first needed over a link, always with the same arguments."""

from __future__ import annotations

import threading
from typing import Any

from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.names import UNIT, Names, address, pattern_of
from longboat.errors import BrokerError, BrokerMisconfigured

FORGOTTEN = 86_400_000
"""Milliseconds after which the server deletes the queue of a consumer that is gone."""


MAILBOX_KEPT = 600_000
"""Milliseconds after which the server deletes a mailbox that nobody listens to."""


OTHERWISE = 406
"""What the server answers for a queue that exists with other arguments."""


LOG, SEGMENT = 256_000_000, 8_000_000
"""Bytes that a stream keeps, and of one of its files: the oldest is deleted when there are more."""


EAR_ROOM = 64_000_000
"""Bytes that wait for a listener that is slow: beyond, the oldest are lost."""


class Topology:
    """What one link has declared. A queue that exists with other arguments raises BrokerError, each time anew."""

    def __init__(self, link: Link, names: Names, *, classic: bool) -> None:
        self._link = link
        self._names = names
        self._type = "classic" if classic else "quorum"
        self._known: set[str] = set()
        self._steps = -1
        self._lock = threading.RLock()

    def ready(self, queue: str) -> None:
        """The ready queues of all levels."""
        with self._lock:
            if (first := self._names.ready(queue, 0)) in self._known:
                return
            self._agree()
            self._exchange(self._names.arrivals)
            for level in self._names.levels:
                name = self._names.ready(queue, level)
                self._queue(name, {})
                self._bind(name, self._names.arrivals, f"#.{address(queue, level)}")
            self._fence(first)
            self._known.add(first)

    def _agree(self) -> None:
        """Raises BrokerMisconfigured if other programs have another number of levels: jobs of some would reach no worker."""
        name, number = self._names.agreed, len(self._names.levels)
        if name in self._known:
            return
        try:
            self._queue(name, {"x-queue-type": "classic", "x-max-length": number})
        except BrokerError as error:
            if getattr(self._link.lost, "reply_code", 0) != OTHERWISE:
                raise
            raise BrokerMisconfigured(
                f"this URL says levels={number}, and the queues of this prefix were made with another number ({error}). "
                f"Give all programs the same. To change it: let the jobs run, stop all programs, "
                f"`rabbitmqctl delete_queue {name}`"
            ) from None
        self._known.add(name)

    def dead(self, queue: str) -> None:
        with self._lock:
            if (name := self._names.dead(queue)) not in self._known:
                self._queue(name, {})
                self._fence(name)
                self._known.add(name)

    def held(self, consumer: str, lease: float) -> str:
        """A queue of this consumer's own: what nobody took out of it within the lease is ready again."""
        with self._lock:
            if (name := self._names.held(consumer)) not in self._known:
                self._exchange(self._names.arrivals)
                self._exchange(self._names.holding)
                passing = self._passing_on(lease, self._names.arrivals)
                self._queue(name, {"x-expires": FORGOTTEN, **passing})
                self._bind(name, self._names.holding, f"{consumer}.#")
                self._fence(name, {"x-expires": FORGOTTEN})
                self._known.add(name)
        return name

    def drop(self, consumer: str) -> None:
        """The queue of a consumer that holds nothing any more."""
        name = self._names.held(consumer)
        for each in (name, f"{name}.fence"):
            self._delete(each)

    def _delete(self, name: str) -> None:
        self._link.do(lambda channel, answer: channel.queue_delete(name, callback=answer))

    def fanout(self, name: str) -> None:
        with self._lock:
            self._exchange(name, "fanout")

    def ear(self, who: str, exchange: str = "") -> str:
        """A queue that lives as long as this link; it is told all that this fanout is told, if one is named."""
        name = self._names.ear(who)
        arguments = {"x-max-length-bytes": EAR_ROOM}
        self._link.do(
            lambda channel, answer: channel.queue_declare(name, exclusive=True, arguments=arguments, callback=answer)
        )
        if exchange:
            self.fanout(exchange)
            self._bind(name, exchange, "")
        return name

    def mailbox(self, address: str) -> str:
        """A queue that outlives its link by some minutes, so that who listens again has lost nothing."""
        name = self._names.mailbox(address)
        arguments = {"x-queue-type": "classic", "x-expires": MAILBOX_KEPT}
        self._link.do(
            lambda channel, answer: channel.queue_declare(name, durable=True, arguments=arguments, callback=answer)
        )
        return name

    def stream(self) -> None:
        with self._lock:
            if (name := self._names.stream) not in self._known:
                kept = {"x-queue-type": "stream", "x-max-length-bytes": LOG, "x-stream-max-segment-size-bytes": SEGMENT}
                newest = {"x-queue-type": "classic", "x-max-length": 1}
                for queue, arguments in ((name, kept), (self._names.snapshot, newest)):
                    self._queue(queue, arguments)
                self._known.add(name)

    def steps(self, highest: int) -> None:
        """The delay queues up to this one, and what leads from each to the next."""
        with self._lock:
            self._exchange(self._names.arrivals)
            fresh = range(self._steps + 1, highest + 1)
            for number in fresh:
                name, following = self._names.step(number), self._names.step(number - 1)
                self._exchange(name)
                self._queue(name, self._passing_on(UNIT * 2**number, following))
                self._bind(name, name, pattern_of(number, 1))
                self._pass_on(name, following, pattern_of(number, 0))
            if fresh:
                self._fence(self._names.step(highest))
                self._steps = highest

    def _passing_on(self, after: float, exchange: str) -> dict[str, Any]:
        arguments: dict[str, Any] = {"x-message-ttl": round(after * 1000), "x-dead-letter-exchange": exchange}
        if self._type == "quorum":
            arguments |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        return arguments

    def _fence(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """One more quorum queue, which is never used, behind those that are.

        A server that is killed within seconds of declaring quorum queues forgets the last of them with all it held: its
        register of them is written when the next is entered, or after three seconds.
        """
        if self._type == "quorum":
            self._queue(f"{name}.fence", arguments or {})

    def _exchange(self, name: str, kind: str = "topic") -> None:
        if f"exchange {name}" not in self._known:
            self._link.do(lambda channel, answer: channel.exchange_declare(name, kind, durable=True, callback=answer))
            self._known.add(f"exchange {name}")

    def _queue(self, name: str, arguments: dict[str, Any]) -> None:
        arguments = {"x-queue-type": self._type, **arguments}
        self._link.do(
            lambda channel, answer: channel.queue_declare(name, durable=True, arguments=arguments, callback=answer)
        )

    def _bind(self, queue: str, exchange: str, key: str) -> None:
        self._link.do(lambda channel, answer: channel.queue_bind(queue, exchange, key, callback=answer))

    def _pass_on(self, exchange: str, following: str, key: str) -> None:
        self._link.do(lambda channel, answer: channel.exchange_bind(following, exchange, key, callback=answer))
