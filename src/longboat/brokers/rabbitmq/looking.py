"""Looking: messages of some jobs are found where they lie, in ready or dead queues, and out of reach of others meanwhile.

A quorum queue counts how often a message came back, and drops it at its delivery limit (RabbitMQ 4: 20, unless a policy says
otherwise). So a message that was looked at among the dead never goes back: it is published anew, confirmed, and then
acknowledged. Of ready ones, whose order matters, only those are that workers would publish anew as well.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from longboat.brokers.rabbitmq.envelope import opened
from longboat.brokers.rabbitmq.link import Link, Publish, Unroutable
from longboat.brokers.rabbitmq.names import cut
from longboat.brokers.rabbitmq.receiver import WORN
from longboat.brokers.rabbitmq.session import Session
from longboat.contract.carrier import Delivery, Place

QUIET = 0.1
"""Seconds without a message after which there are none left to look at."""

MOST = 10_000
"""Messages of one queue that are looked at."""

WINDOW = 250
"""Messages that are asked for at once. All have arrived before it is cancelled: pika gives back what comes later."""

LARGEST = 100_000_000
"""Bytes of messages that are found by one look, about."""

TOGETHER = 1_000_000
"""Bytes that are published anew at once, about."""

COUNTERS = ("x-delivery-count", "x-acquired-count")
"""Headers that the server sets."""


class Looking:
    """By a connection of its own: what is neither acknowledged nor published anew goes back to its place when it closes."""

    def __init__(self, link: Link, *, counting: bool) -> None:
        """`counting`: the queues count what comes back."""
        self.found: list[Delivery] = []
        self._link = link
        self._counting = counting
        self._anew: dict[int, Publish] = {}
        """By tag: what must not go back."""
        self._tags: list[str] = []
        self._room = LARGEST
        self._changed = threading.Condition()
        self._came = 0
        self._heard = 0.0
        self._end = time.monotonic() + link.timeout

    def may_write(self, nowhere: str) -> None:
        """Raises BrokerError where nothing can be published now, so that nothing is looked at that could only go back."""
        if self._counting:
            with suppress(Unroutable):
                self._link.publish([Publish("", nowhere, b"", {})])

    def read(self, place: Place, name: str, left: set[str] | None, limit: int) -> None:
        """Until all that is `left` was found, or nothing more comes, or `limit` messages came."""
        most = limit if left is None or place[1] is None else min(limit, 2 * len(left) + 100)
        while most > 0 and self._room > 0 and (left is None or left) and time.monotonic() < self._end:
            window = min(WINDOW, most)
            self._ask(window, name, functools.partial(self._see, place, name, left))
            with self._changed:
                while self._came < window and (pause := self._heard + QUIET - time.monotonic()) > 0:
                    self._changed.wait(pause)
                most = most - window if self._came == window else 0

    def _ask(self, window: int, name: str, see: Any) -> None:
        self._came, tag = 0, str(len(self._tags))
        self._tags.append(tag)

        def consume(channel: Any, answered: Any) -> None:
            channel.basic_qos(prefetch_count=window)
            channel.basic_consume(name, see, consumer_tag=tag, callback=answered)

        self._link.do(consume)
        self._heard = time.monotonic()

    def _see(
        self, place: Place, at: str, left: set[str] | None, _channel: Any, method: Any, properties: Any, body: bytes
    ) -> None:
        headers, tag = properties.headers or {}, method.delivery_tag
        envelope, job = opened(properties.headers, body, redelivered=False, reply=properties.reply_to)
        with self._changed:
            self._heard = time.monotonic()
            self._came += 1
            if self._counting and (place[1] is None or headers.get(COUNTERS[0], 0) >= WORN):
                kept = {name: value for name, value in headers.items() if name not in COUNTERS}
                self._anew[tag] = Publish("", at, body, kept, properties.message_id or "", envelope.reply)
            for name in {properties.message_id or "", envelope.copy}:  # the copy: the id of what cannot be decoded
                if self._room > 0 and (name in left if left is not None else name == (properties.message_id or "")):
                    self._room -= len(body)
                    self.found.append(Delivery(place[0], job, envelope, tag, id=name))
                    if left is not None:
                        left.discard(name)
            self._changed.notify_all()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        tags = [each.tag for each in deliveries]
        for tag in tags:
            self._anew.pop(tag, None)
        if tags:
            self._link.do(functools.partial(_acknowledge, tags))

    def put_back(self) -> None:
        """Publish anew what must not go back. Who dies over it leaves some of it twice."""
        if self._link.lost is not None:
            return
        for name in self._tags:  # else what is published anew would come here
            self._link.do(lambda channel, answer, name=name: channel.basic_cancel(name, callback=answer))  # type: ignore[misc]  # mypy cannot type a default of a lambda
        part: list[int] = []
        size, last = 0, next(reversed(self._anew), 0)
        for tag, message in self._anew.items():
            part.append(tag)
            size += len(message.body) + len(message.headers) * 100
            if size >= TOGETHER or tag == last:
                self._link.publish([self._anew[each] for each in part])
                self._link.do(functools.partial(_acknowledge, part))
                part, size = [], 0


def _acknowledge(tags: Sequence[int], channel: Any, answer: Any) -> None:
    for tag in tags:
        channel.basic_ack(tag)
    channel.basic_qos(prefetch_count=1, callback=answer)  # they are acknowledged by the time that this is answered


@contextmanager
def look(session: Session, wanted: Mapping[Place, Collection[str] | None], most: int | None = None) -> Iterator[Looking]:
    """Ids are cut as those of messages are. `most`: so many are found at most, and no more are looked at."""
    whole = {cut(name): name for names in wanted.values() for name in names or ()}
    left: dict[Place, set[str] | None] = {}
    for (queue, priority), names in wanted.items():
        place = (queue, None if priority is None else session.names.level_of(priority))
        left[place] = None if names is None else (left.get(place) or set()) | {cut(name) for name in names}
    link, ours = session.link("longboat-rabbitmq-look"), session.names
    try:
        topology = session.topology(link)
        looking = Looking(link, counting=not session.classic)
        looking.may_write(ours.nowhere)
        try:
            for (queue, level), names in left.items():
                topology.dead(queue) if level is None else topology.ready(queue)
                name = ours.dead(queue) if level is None else ours.ready(queue, level)
                looking.read((queue, level), name, names, MOST if most is None else most - len(looking.found))
            for each in looking.found:
                each.id = whole.get(each.id, each.id)
            yield looking
        finally:
            looking.put_back()
    finally:
        link.close()
