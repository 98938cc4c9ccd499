"""What a receiver keeps in a queue of its own: jobs that run for long, and those noted as started.

The server takes back what is not acknowledged within its consumer timeout (30 minutes unless set), whether its worker
lives or not. And a message that is held does not say whether it has started. So such a job is published to a queue that
only its receiver reads, and once it has come back from there the delivery held before is acknowledged; from time to time
anew. When the worker dies the server passes what is in that queue on to the ready queues, at the end of the lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from pika.spec import Basic

from longboat.brokers.rabbitmq.envelope import given_up, kept_by, opened
from longboat.brokers.rabbitmq.hands import Held
from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.session import Session
from longboat.contract.carrier import Message
from longboat.core.job import Failure
from longboat.core.views import job_or_none
from longboat.errors import BrokerError

LOOKS = 10
PAUSE = 0.02
"""Seconds between looks at whether the server has noticed the end of a connection."""

Came = Callable[[int, int], int | None]


class Holding:
    """One receiver's. `came(token, tag)` is told in the link's thread what has come back, and answers with the tag that it
    takes the place of, None for what is held no more."""

    def __init__(self, session: Session, link: Link, receiver: str, *, lease: float, name: str, came: Came) -> None:
        self._session = session
        self._link = link
        self._receiver = receiver
        self._lease = lease
        self._name = name
        self._came = came
        self._lock = threading.Lock()
        self._open = False

    def keep(self, helds: Sequence[Held], *, noted: bool) -> None:
        """Durable on return, and with `noted` known as started."""
        if not helds:
            return
        self._begin()
        messages = []
        for held in helds:
            started = held.envelope.attempts + 1 if noted or held.noted else 0
            new = msgspec.structs.replace(held.envelope, token=held.token, started=started, worker=self._name)
            messages.append(kept_by(self._session.names, self._receiver, held.message(new)))
        self._session.publish(messages)
        for held in helds:
            held.noted = held.noted or noted

    def close(self, own: Callable[[], tuple[list[Held], bool]]) -> None:
        """Hand back, uncharged, what `own` says is there. The queue goes too, unless somebody still settles some of that."""
        if not self._open or self._link.lost is not None:
            return
        # Until this is answered deliveries may take the place of others.
        self._link.do(lambda channel, answered: channel.basic_cancel(self._receiver, callback=answered))
        helds, busy = own()
        if helds:
            self._session.send([held.message(held.envelope) for held in helds])
        if not busy:
            self._session.topology(self._link).drop(self._receiver)

    def _begin(self) -> None:
        with self._lock:
            if self._open:
                return
            queue = self._session.held(self._receiver, self._lease)

            def consume(channel: Any, answered: Callable[[Any], None]) -> None:
                channel.basic_qos(prefetch_count=0)
                channel.basic_consume(queue, self._arrive, consumer_tag=self._receiver, callback=answered)

            self._link.do(consume)
            self._open = True

    def _arrive(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        envelope, _ = opened(properties.headers, body, redelivered=False)
        old = self._came(envelope.token, method.delivery_tag)
        channel.basic_ack(method.delivery_tag if old is None else old)


def evict(session: Session, receiver: str, failure: Failure) -> int:
    """Put what a dead receiver kept in a queue of its own back into the ready queues; returns how many."""
    link = session.link("longboat-rabbitmq-evict")
    name, back, looks = session.names.held(receiver), 0, LOOKS
    try:
        if not exists(link, name):
            return 0  # it never kept anything
        while looks:
            got: Any = link.do(lambda channel, answered: get(channel, name, answered))
            if got is None:
                looks -= 1
                time.sleep(PAUSE)
                continue
            method, properties, body = got
            headers = {key: value for key, value in properties.headers.items() if key != "x-delivery-count"}
            envelope, body = opened(headers, body, redelivered=False, reply=properties.reply_to)
            envelope = given_up(envelope, failure)
            if (job := job_or_none(body)) is None:
                looks -= 1  # the server passes it on, to be found undecodable
                continue
            session.send([Message(job.id, job.queue, job.priority, body, envelope)])
            link.ack(method.delivery_tag)
            back, looks = back + 1, 1
    finally:
        link.close()
    return back


def exists(link: Link, queue: str) -> bool:
    """Whether the server has this queue. Where it has not, the link is lost by asking."""
    try:
        link.do(lambda channel, answered: channel.queue_declare(queue, passive=True, callback=answered))
    except BrokerError:
        if getattr(link.lost, "reply_code", 0) != GONE:
            raise
        return False
    return True


GONE = 404
"""The server's reply where there is no such queue."""


def get(channel: Any, name: str, answered: Callable[[Any], None]) -> None:
    """Answers with (method, properties, body), or None where the queue is empty."""
    channel.add_callback(lambda _: answered(None), [Basic.GetEmpty])
    channel.basic_get(name, lambda _, method, head, body: answered((method, head, body)))
