"""Sweeping: the messages of jobs that a move has taken are acknowledged, where they are in ready or dead queues just now.

It spares workers from dropping them one by one. What it does not find, in delay queues say, is dropped when it comes.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker

QUIET = 0.1
"""Seconds without a message after which there are none left to look at."""

MOST = 10_000
"""Messages of one queue that are looked at."""

Place = tuple[str, int | None]
"""A queue and its level; None: its dead jobs."""


class Sweep:
    """A connection of its own: what is not wanted goes back to its place when it closes."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker
        self._changed = threading.Condition()
        self._left: dict[Place, set[str]] = {}
        self._found: dict[int, str] = {}
        """Jobs by the tags of their messages."""
        self._heard = 0.0

    def __call__(self, wanted: Mapping[Place, Collection[str]], confirm: Callable[[], Collection[str]]) -> None:
        """Acknowledge the messages of these jobs, once they are found and of those that `confirm` then tells.

        A job may have gone and come back by another's doing: what is found before it is confirmed is of before.
        """
        self._left = {place: {name[:255] for name in names} for place, names in wanted.items() if names}
        if not self._left:
            return
        link = self._broker.link("longboat-rabbitmq-sweep")
        try:
            topology = self._broker.topology(link)
            for queue, level in self._left:
                topology.dead(queue) if level is None else topology.ready(queue)
            self._heard = time.monotonic()
            for place in list(self._left):
                link.do(functools.partial(self._consume, place))
            self._await(link.timeout)
            with self._changed:
                found = dict(self._found)
            confirmed = {name[:255] for name in confirm()}
            for tag in (tag for tag, name in found.items() if name in confirmed):
                link.ack(tag)
            link.do(lambda channel, answer: channel.basic_qos(prefetch_count=1, callback=answer))  # acknowledged by then
        finally:
            link.close()

    def _consume(self, place: Place, channel: Any, answer: Any) -> None:
        queue, level = place
        names = self._broker.names
        most = MOST if level is None else min(MOST, 2 * len(self._left[place]) + 100)
        channel.basic_qos(prefetch_count=most)
        name = names.dead(queue) if level is None else names.ready(queue, level)
        channel.basic_consume(name, functools.partial(self._see, self._left[place]), callback=answer)

    def _see(self, left: set[str], _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        copy = (properties.headers or {}).get("longboat-copy", "")  # the id of what cannot be decoded
        with self._changed:
            self._heard = time.monotonic()
            for name in {properties.message_id, copy} & left:
                left.discard(name)
                self._found[method.delivery_tag] = name
            if not any(self._left.values()):
                self._changed.notify_all()

    def _await(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        with self._changed:
            while any(self._left.values()) and (pause := min(end, self._heard + QUIET) - time.monotonic()) > 0:
                self._changed.wait(pause)
