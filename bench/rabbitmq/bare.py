"""What one writes by hand with pika to publish single messages, each confirmed before its caller goes on.

The same persistent, mandatory messages to one quorum queue as in `limit.py`. Threads have a BlockingConnection each, since
pika's connections are for one thread; coroutines share a connection, and each awaits the confirm of its own message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from bench.rabbitmq.limit import MESSAGE, QUEUE

PERSISTENT = pika.BasicProperties(delivery_mode=2)


@contextlib.contextmanager
def publisher(url: str) -> Iterator[Callable[[], object]]:
    """A connection of its own; each call publishes one message, confirmed on return."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        yield lambda: channel.basic_publish("", QUEUE, MESSAGE, PERSISTENT, mandatory=True)


class _Confirms:
    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.published = 0
        self.below = 0

    def __call__(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        for each in range(self.below + 1, tag + 1) if frame.method.multiple else (tag,):
            if (future := self.waiting.pop(each, None)) is not None:
                future.set_result(None)
        if frame.method.multiple:
            self.below = tag


@contextlib.asynccontextmanager
async def apublisher(url: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """As `publisher`, for any number of coroutines."""
    loop, confirms = asyncio.get_running_loop(), _Confirms()
    opened: asyncio.Future[Any] = loop.create_future()
    closed: asyncio.Future[object] = loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=lambda made: made.channel(on_open_callback=opened.set_result),
        on_close_callback=lambda *_: closed.set_result(None),
    )
    channel = await opened
    declared: asyncio.Future[object] = loop.create_future()
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"}, callback=declared.set_result)
    await declared
    confirming: asyncio.Future[object] = loop.create_future()
    channel.confirm_delivery(confirms, callback=confirming.set_result)
    await confirming

    async def publish() -> None:
        confirms.published += 1
        future = confirms.waiting[confirms.published] = loop.create_future()
        channel.basic_publish("", QUEUE, MESSAGE, PERSISTENT, mandatory=True)
        await future

    try:
        yield publish
    finally:
        connection.close()
        await closed
