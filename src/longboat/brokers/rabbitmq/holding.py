"""What a consumer keeps in a queue of its own: jobs that run for long, and those noted as started.

The server takes back what is not acknowledged within its consumer timeout (30 minutes unless set), whether its worker
lives or not. And a message that is held says nothing of whether it has started. So such a job is published to a queue that
only its consumer reads, and once it has come back from there the delivery held before is acknowledged; from time to time
anew. When the worker dies the server passes what is in that queue on to the ready queues, at the end of the lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from pika.spec import Basic  # type: ignore[import-untyped]

from longboat.brokers.rabbitmq import envelope as envelopes
from longboat.brokers.rabbitmq.held import Held
from longboat.brokers.rabbitmq.link import Link, Message
from longboat.core.codec import decode_job
from longboat.core.job import Failure, Job
from longboat.errors import BrokerError

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker

LOOKS = 10
PAUSE = 0.02
"""Seconds between looks at whether the server has noticed the end of a connection."""


class Holding:
    """One consumer's. `came(token, tag)` is told in the link's thread what has come back, and answers with the tag that it
    takes the place of, None for what is held no more."""

    def __init__(
        self,
        broker: RabbitmqBroker,
        link: Link,
        consumer: str,
        *,
        lease: float,
        name: str,
        came: Callable[[int, int], int | None],
    ) -> None:
        self._broker = broker
        self._link = link
        self._consumer = consumer
        self._lease = lease
        self._name = name
        self._came = came
        self._lock = threading.Lock()
        self._open = False

    def keep(self, helds: Sequence[Held], *, noted: bool) -> None:
        """Durable on return, and with `noted` known as started."""
        messages: list[Message] = []
        for held in helds:
            if held.lease is None:
                continue
            started = held.lease.attempt if noted or held.noted else 0
            new = msgspec.structs.replace(held.envelope, token=held.lease.token, started=started, worker=self._name)
            messages.append(envelopes.kept(self._broker.names, self._consumer, held.lease.job, new, held.body))
        if not messages:
            return
        self._begin()
        self._broker.publish(messages, lambda _: None)
        for held in helds:
            held.noted = held.noted or noted

    def close(self, own: Callable[[], tuple[list[Held], bool]]) -> None:
        """Hand back, uncharged, what `own` says is there. The queue goes too, unless somebody still settles some of that."""
        if not self._open or self._link.lost is not None:
            return
        # Until this is answered deliveries may take the place of others.
        self._link.do(lambda channel, answered: channel.basic_cancel(self._consumer, callback=answered))
        names = self._broker.names
        helds, busy = own()
        jobs: list[tuple[Held, Job]] = [(held, held.lease.job) for held in helds if held.lease]
        messages = [envelopes.ready(names, job, held.envelope, 0.0, held.body) for held, job in jobs]
        if messages:
            self._broker.send(messages, {job.queue for _, job in jobs}, 0.0)
        if not busy:
            self._broker.topology(self._link).drop(self._consumer)

    def _begin(self) -> None:
        with self._lock:
            if self._open:
                return
            queue = self._broker.topology(self._link).held(self._consumer, self._lease)

            def consume(channel: Any, answered: Callable[[Any], None]) -> None:
                channel.basic_qos(prefetch_count=0)
                channel.basic_consume(queue, self._arrive, consumer_tag=self._consumer, callback=answered)

            self._link.do(consume)
            self._open = True

    def _arrive(self, channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        envelope = envelopes.opened(properties.headers, redelivered=False)
        old = self._came(envelope.token, method.delivery_tag)
        channel.basic_ack(method.delivery_tag if old is None else old)


def evict(broker: RabbitmqBroker, link: Link, consumer: str, failure: Failure) -> int:
    """Put what a dead consumer kept in a queue of its own back into the ready queues; returns how many."""
    name, back, looks = broker.names.held(consumer), 0, LOOKS
    try:
        link.do(lambda channel, answered: channel.queue_declare(name, passive=True, callback=answered))
    except BrokerError:
        if link.lost is not None and getattr(link.lost, "reply_code", 0) != 404:
            raise
        return 0  # it never kept anything
    while looks:
        got: Any = link.do(lambda channel, answered: get(channel, name, answered))
        if got is None:
            looks -= 1
            time.sleep(PAUSE)
            continue
        method, properties, body = got
        headers = {key: value for key, value in properties.headers.items() if key != "x-delivery-count"}
        envelope = envelopes.given_up(envelopes.opened(headers, redelivered=False), failure)
        job = decode_job(body)
        broker.send([envelopes.ready(broker.names, job, envelope, 0.0, body)], [job.queue], 0.0)
        link.ack(method.delivery_tag)
        back, looks = back + 1, 1
    return back


def get(channel: Any, name: str, answered: Callable[[Any], None]) -> None:
    """Answers with (method, properties, body), or None where the queue is empty."""
    channel.add_callback(lambda _: answered(None), [Basic.GetEmpty])
    channel.basic_get(name, lambda _, method, head, body: answered((method, head, body)))
