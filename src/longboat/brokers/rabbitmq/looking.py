"""Looking: messages of some jobs are found where they lie, in ready or dead queues, and out of reach of others meanwhile."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from longboat.brokers.rabbitmq.envelope import opened
from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.names import cut, level_of
from longboat.brokers.rabbitmq.session import Session
from longboat.contract.carrier import Delivery, Place

QUIET = 0.1
"""Seconds without a message after which there are none left to look at."""

MOST = 10_000
"""Messages of one queue that are looked at."""

LARGEST = 100_000_000
"""Bytes of messages that are found by one look, about."""


class Looking:
    """By a connection of its own: what is not acknowledged goes back to its place when it closes."""

    def __init__(self, link: Link, left: dict[Place, set[str] | None]) -> None:
        self.found: list[Delivery] = []
        self._link = link
        self._left = left
        self._room = LARGEST
        self._changed = threading.Condition()
        self._heard = time.monotonic()

    def consume(self, place: Place, name: str) -> None:
        left = self._left[place]
        most = MOST if left is None or place[1] is None else min(MOST, 2 * len(left) + 100)
        see = functools.partial(self._see, place[0], left)

        def consume(channel: Any, answered: Any) -> None:
            channel.basic_qos(prefetch_count=most)
            channel.basic_consume(name, see, callback=answered)

        self._link.do(consume)

    def _see(self, queue: str, left: set[str] | None, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        envelope = opened(properties.headers, redelivered=False)
        with self._changed:
            self._heard = time.monotonic()
            for name in {properties.message_id or "", envelope.copy}:  # the copy: the id of what cannot be decoded
                if self._room > 0 and (name in left if left is not None else name == (properties.message_id or "")):
                    self._room -= len(body)
                    self.found.append(Delivery(queue, body, envelope, method.delivery_tag, id=name))
                    if left is not None:
                        left.discard(name)
            if self._done():
                self._changed.notify_all()

    def _done(self) -> bool:
        return self._room <= 0 or not any(left is None or left for left in self._left.values())

    def wait(self, timeout: float) -> None:
        """Until all was found, or nothing more comes."""
        end = time.monotonic() + timeout
        with self._changed:
            while not self._done() and (pause := min(end, self._heard + QUIET) - time.monotonic()) > 0:
                self._changed.wait(pause)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        for each in deliveries:
            self._link.ack(each.tag)
        if deliveries:  # acknowledged by the time that this is answered
            self._link.do(lambda channel, answer: channel.basic_qos(prefetch_count=1, callback=answer))


@contextmanager
def look(session: Session, wanted: Mapping[Place, Collection[str] | None]) -> Iterator[Looking]:
    """Ids are cut as those of messages are."""
    whole = {cut(name): name for names in wanted.values() for name in names or ()}
    left: dict[Place, set[str] | None] = {}
    for (queue, priority), names in wanted.items():
        place = (queue, None if priority is None else level_of(priority))
        left[place] = None if names is None else (left.get(place) or set()) | {cut(name) for name in names}
    link = session.link("longboat-rabbitmq-look")
    try:
        topology = session.topology(link)
        for queue, level in left:
            topology.dead(queue) if level is None else topology.ready(queue)
        looking = Looking(link, left)
        for queue, level in left:
            ours = session.names
            looking.consume((queue, level), ours.dead(queue) if level is None else ours.ready(queue, level))
        looking.wait(link.timeout)
        for each in looking.found:
            each.id = whole.get(each.id, each.id)
        yield looking
    finally:
        link.close()
