"""Subscription: what a receiver has the server push, as much as is free, while somebody receives, and what it keeps."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pika import spec

from longboat.brokers.rabbitmq.hands import Held
from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.names import Names

IDLE = 0.25
"""Seconds after the last receive at which no more is pushed, and after which others may have a slot for what nobody took."""

MOST = 65535
FEW = 16
"""So many may be asked for exactly; beyond, by half as many again at least, so that there are few subscriptions."""


class Subscription:
    """By further consumers on the channel when more is asked for, so that none is cancelled while messages arrive for it.

    What nobody has taken stays in its place here while its level has more that is ready: then no worker waits for it.

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
        self._prefetch = [0] * len(self.places)
        self._watched = False
        self.paused: frozenset[str] = frozenset()
        self.receiving = 0
        self.quiet_since = time.monotonic()
        self._exhausted: set[int] = set()
        """Places that had nothing ready when the server was asked."""
        self._asking = False
        self._ask_at = 0.0

    def open(self) -> list[deque[Held]]:
        """What may be taken, by place."""
        return [arrived for (queue, _), arrived in zip(self.places, self.arrived, strict=True) if queue not in self.paused]

    def waiting(self) -> int:
        return sum(map(len, self.open()))

    def ask(self, n: int, leased: Sequence[int]) -> Callable[[Any, Callable[[Any], None]], None] | None:
        """What to do in the link's thread to have `n` of each place here beside those leased; None: it is done already.

        It is answered when what was ready has arrived, unless the server is busy.
        """
        more = self._lacking(n, leased)
        if not more:
            return None
        tags = {at: f"{time.monotonic_ns()}.{at}" for at in more}
        self._tags += tags.values()
        for at, number in more.items():
            self._prefetch[at] += number

        def consume(channel: Any, answered: Callable[[Any], None]) -> None:
            if next(iter(tags.values())) not in self._tags:  # stopped since
                answered(None)
                return
            if not self._watched:
                self._watched = True
                channel.add_on_cancel_callback(lambda _: self._link.end(ConnectionError("a queue was deleted")))
            prefetch = -1
            for at, tag in tags.items():
                if more[at] != prefetch:
                    channel.basic_qos(prefetch_count=(prefetch := more[at]))
                channel.basic_consume(self._names[at], functools.partial(self._arrive, at), consumer_tag=tag)
            channel.basic_qos(callback=answered)

        return consume

    def _lacking(self, n: int, leased: Sequence[int]) -> dict[int, int]:
        """By place how many more the server may push, where it is too few."""
        more: dict[int, int] = {}
        for at, (queue, _) in enumerate(self.places):
            lacks = min(leased[at] + n, MOST) - self._prefetch[at]
            if lacks > 0 and (arrived := self.arrived[at]):
                lacks -= sum(not held.counted for held in arrived)
            if lacks > 0 and queue not in self.paused:
                more[at] = max(lacks, self._prefetch[at] // 2) if self._prefetch[at] > FEW else lacks
        return more

    def keep(self, helds: Sequence[Held]) -> None:
        """Somebody took these and does not want them now."""
        for at in {held.place for held in helds}:
            whole = [*self.arrived[at], *(held for held in helds if held.place == at)]
            self.arrived[at] = deque(sorted(whole, key=lambda held: held.tag))

    def look_for_others(self, told: Callable[[], None]) -> None:
        """Ask the server of which levels nothing more is ready, so that others may have a slot for what is kept here.

        In the link's thread, as `told`.
        """
        now = time.monotonic()
        if self._asking or now < self._ask_at:
            return
        kept = [at for at, arrived in enumerate(self.arrived) if arrived and now - arrived[0].since > IDLE]
        self._asking, self._ask_at = bool(kept), now + IDLE

        def answered(at: int, answer: Any) -> None:
            if not answer.method.message_count:
                self._exhausted.add(at)
            if at == kept[-1]:
                self._asking = False
                told()

        for at in kept:
            self._link.channel.queue_declare(self._names[at], passive=True, callback=functools.partial(answered, at))

    def stop(self, longest: float, *, force: bool = False, whole: bool = False) -> list[Held] | None:
        """If nobody receives, or something is to go back, or by force: nothing is pushed any more.

        In the link's thread. Returns what is to go back, still held; None: it goes on. `whole`: all goes back.
        """
        now = time.monotonic()
        idle = not self.receiving and now - self.quiet_since > IDLE
        back = self.untaken(lambda at: whole or self._must_go(at, now - longest))
        self._exhausted.clear()
        if not (back or ((idle or force or whole) and self._tags)):
            return None
        tags, self._tags, self._prefetch = self._tags, [], [0] * len(self.places)
        channel: Any = self._link.channel
        for tag in tags:
            # All at once: pika's own way waits for each answer, and rejects what arrives meanwhile. The server pushes that
            # to those that are not cancelled yet, again and again, and counts each time.
            channel._rpc(spec.Basic.Cancel(tag, nowait=True))
        # Answered once all that is. Until then messages may arrive.
        channel.basic_qos(callback=lambda _: [channel._consumers.pop(tag, None) for tag in tags])
        return back

    def _must_go(self, at: int, before: float) -> bool:
        """Others may have a slot for it, or its queue is paused, or the server would take it for lost."""
        return at in self._exhausted or self.places[at][0] in self.paused or self.arrived[at][0].since < before

    def untaken(self, which: Callable[[int], bool] = lambda _: True) -> list[Held]:
        """What had arrived of these places and nobody has taken, in its order. It is not among the arrived any more."""
        back: list[Held] = []
        for at, arrived in enumerate(self.arrived):
            if arrived and which(at):
                back += arrived
                arrived.clear()
        return sorted(back, key=lambda held: held.tag)
