"""Subscription: what a receiver has the server push, as much as is free, while somebody receives."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pika import spec

from longboat.brokers.rabbitmq.hands import Held
from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.names import Names

IDLE = 0.25
"""Seconds after the last receive at which what is free goes back: others may have a slot for it."""

MOST = 65535
FEW = 16
"""So many may be asked for exactly; beyond, by half as many again at least, so that there are few subscriptions."""


class Subscription:
    """By further consumers on the channel when more is asked for, so that none is cancelled while messages arrive for it.

    `arrive(place, channel, method, properties, body)` runs in the link's thread. The caller locks what is shared.
    """

    def __init__(
        self, link: Link, names: Names, queues: list[str], arrive: Callable[[int, Any, Any, Any, bytes], None]
    ) -> None:
        self._link = link
        self._arrive = arrive
        self.places = [(queue, level) for queue in queues for level in names.levels]
        self._names = [names.ready(queue, level) for queue, level in self.places]
        self.arrived: list[deque[Held]] = [deque() for _ in self.places]
        """What nobody has taken yet, by place: the first is asked first."""
        self._tags: list[str] = []
        self._prefetch = 0
        self._watched = False
        self.paused: frozenset[str] = frozenset()
        self.receiving = 0
        self.quiet_since = time.monotonic()

    def open(self) -> list[deque[Held]]:
        """What may be taken, by place."""
        return [arrived for (queue, _), arrived in zip(self.places, self.arrived, strict=True) if queue not in self.paused]

    def waiting(self) -> int:
        return sum(map(len, self.open()))

    def ask(self, n: int, leased: int) -> Callable[[Any, Callable[[Any], None]], None] | None:
        """What to do in the link's thread to have the server push `n` beside those leased; None: it does already."""
        more = min(leased + n, MOST) - self._prefetch
        if more <= 0:
            return None
        if self._prefetch > FEW:
            more = max(more, self._prefetch // 2)
        tags = {at: f"{time.monotonic_ns()}.{at}" for at, (queue, _) in enumerate(self.places) if queue not in self.paused}
        if not tags:
            return None
        self._prefetch += more
        self._tags += tags.values()

        def consume(channel: Any, answered: Callable[[Any], None]) -> None:
            last = max(tags)
            if tags[last] not in self._tags:  # stopped since
                answered(None)
                return
            if not self._watched:
                self._watched = True
                channel.add_on_cancel_callback(lambda _: self._link.end(ConnectionError("a queue was deleted")))
            channel.basic_qos(prefetch_count=more)
            for at, tag in tags.items():
                arrive = functools.partial(self._arrive, at)
                channel.basic_consume(self._names[at], arrive, consumer_tag=tag, callback=answered if at == last else None)

        return consume

    def stop(self, longest: float, *, force: bool) -> list[Held] | None:
        """If nobody receives, or something waits for longer than it may, or by force: what nobody has taken is to go back.

        In the link's thread. Returns that, still held; None: it goes on.
        """
        now = time.monotonic()
        idle = not self.receiving and now - self.quiet_since > IDLE
        stale = any(arrived and now - arrived[0].since > longest for arrived in self.arrived)
        late = self.waiting() < sum(map(len, self.arrived))  # they arrived after their queue was paused
        if not (idle or stale or late or force) or not (self._tags or any(self.arrived)):
            return None
        tags, self._tags, self._prefetch = self._tags, [], 0
        channel: Any = self._link.channel
        for tag in tags:
            # All at once: pika's own way waits for each answer, and rejects what arrives meanwhile. The server pushes that
            # to those that are not cancelled yet, again and again, and counts each time.
            channel._rpc(spec.Basic.Cancel(tag, nowait=True))
        # Answered once all that is. Until then messages may arrive.
        channel.basic_qos(callback=lambda _: [channel._consumers.pop(tag, None) for tag in tags])
        return self.untaken()

    def untaken(self) -> list[Held]:
        """What had arrived and nobody has taken, in its order. It is not among the arrived any more."""
        back = sorted((held for arrived in self.arrived for held in arrived), key=lambda held: held.tag)
        for arrived in self.arrived:
            arrived.clear()
        return back
