"""The limit: what one writes by hand with pika's fastest connection, in one thread, on the same server.

Persistent messages to one quorum queue, confirms pipelined, and many messages acknowledged at once. There is no priority,
no retry, no count of attempts, no dead message, no second thread, and nothing is decoded or run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pika
from pika.spec import Basic, BasicProperties

MESSAGE = b"x" * 200
QUEUE = "bare"
PUT = 1000
"""Messages in one burst. The next goes out when half of one are still to be confirmed, so that the server is never idle."""


class Bare:
    """One connection and channel, driven by whoever calls `during`."""

    def __init__(self, url: str) -> None:
        self.channel: Any = None
        self.connection = pika.SelectConnection(
            pika.URLParameters(url), on_open_callback=lambda opened: opened.channel(on_open_callback=self._opened)
        )
        self.loop = self.connection.ioloop
        self.loop.start()

    def _opened(self, channel: Any) -> None:
        self.channel = channel
        self.loop.stop()

    def answer(self, call: Callable[..., object], *args: Any, **named: Any) -> None:
        """The server has done it on return."""
        call(*args, **named, callback=lambda _: self.loop.stop())
        self.loop.start()

    def close(self) -> None:
        self.connection.add_on_close_callback(lambda *_: self.loop.stop())
        self.connection.close()
        self.loop.start()


def measure(url: str, number: int, batch: int) -> tuple[float, float]:
    """(messages consumed a second, messages put a second); `batch` are acknowledged at once."""
    bare = Bare(url)
    bare.answer(bare.channel.queue_declare, QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    begun = time.perf_counter()
    put(bare, number)
    filled = time.perf_counter()
    bare.answer(bare.channel.basic_qos, prefetch_count=2 * batch)
    started = time.perf_counter()
    consume(bare, number, batch)
    ended = time.perf_counter()
    bare.answer(bare.channel.queue_delete, QUEUE)
    bare.close()
    return number / (ended - started), number / (filled - begun)


def put(bare: Bare, number: int) -> None:
    """Confirmed on return."""
    properties, published = BasicProperties(delivery_mode=2), 0

    def go_on(confirmed: int) -> None:
        nonlocal published
        if confirmed == number:
            bare.loop.stop()
        elif published - confirmed <= PUT // 2:
            for _ in range(min(PUT, number - published)):
                bare.channel.basic_publish("", QUEUE, MESSAGE, properties, mandatory=True)
                published += 1

    confirmed_all = Confirms(go_on)
    bare.answer(lambda callback: bare.channel.confirm_delivery(confirmed_all, callback=callback))
    go_on(0)
    bare.loop.start()


class Confirms:
    """Counts messages, of which the server may confirm many at once, and out of order."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self.told = told
        self.below = 0
        self.single: set[int] = set()

    def __call__(self, frame: Any) -> None:
        assert isinstance(frame.method, Basic.Ack)
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            self.single = {each for each in self.single if each > tag}
            self.below = max(self.below, tag)
        else:
            self.single.add(tag)
        self.told(self.below + len(self.single))


def consume(bare: Bare, number: int, batch: int) -> None:
    count = 0

    def arrived(channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        nonlocal count
        count += 1
        if count % batch == 0 or count == number:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if count == number:
            bare.loop.stop()

    bare.channel.basic_consume(QUEUE, arrived)
    bare.loop.start()
