"""What can be seen and changed without a store: depths of queues, and the dead jobs.

Over AMQP those of the queues that this client has used; of all where the management plugin tells what queues there are.
"""

# ruff: noqa: ARG002  # parameters of the contract that RabbitMQ has no use for

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from longboat.brokers.rabbitmq import envelope as envelopes
from longboat.brokers.rabbitmq.capabilities import unsupported
from longboat.brokers.rabbitmq.envelope import Envelope
from longboat.brokers.rabbitmq.holding import get
from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.names import LEVELS
from longboat.contract.capabilities import Capability
from longboat.core.codec import decode_failures, decode_job
from longboat.core.job import State
from longboat.core.views import ConsumerView, JobView, LimitView, Page
from longboat.errors import Undecodable

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker

BACK = 0.1
"""Seconds."""

LOOKED_AT = 10_000
"""Dead jobs of a queue that one call looks at, at most."""


class RabbitmqInspector:
    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker

    def counts(self) -> Mapping[tuple[str, State], int]:
        """Ready and dead jobs of the queues that this client has used.

        With the management plugin of all queues, and running and scheduled ones as they were up to five seconds ago.
        """
        seen, used, names = self._broker.look(), frozenset(self._broker.queues), self._broker.names
        found = seen.counts(names) if seen else {}
        with self._link() as link:
            topology = self._broker.topology(link)
            for queue in sorted(used | (seen.queues if seen else set())):
                if queue in used:
                    topology.ready(queue)
                    topology.dead(queue)
                ready = [names.ready(queue, level) for level in LEVELS]
                for state, places in ((State.READY, ready), (State.DEAD, [names.dead(queue)])):
                    number = sum(
                        self._depth(link, name) for name in places if queue in used or (seen and name in seen.depths)
                    )
                    if number:
                        found[queue, state] = number
        return found

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        raise unsupported(Capability.LOOKUP)

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """Dead jobs only, newest first, the newest `limit` of those it looks at, in one page."""
        if state is not State.DEAD or after is not None:
            raise unsupported(Capability.LISTS, f"list {state} jobs" if after is None else "list a second page of dead jobs")
        views: list[JobView] = []
        with self._link() as link:
            for name in self._queues(queue):
                for _tag, body, envelope in self._dead(link, name):
                    view = self._view(name, body, envelope)
                    if task in (None, view.task):
                        views.append(view)
        return Page(sorted(views, key=lambda view: -(view.ended or 0.0))[:limit], None)

    def consumers(self) -> list[ConsumerView]:
        raise unsupported(Capability.CONSUMERS)

    def cancel(self, ids: Sequence[str]) -> list[str]:
        raise unsupported(Capability.CANCEL)

    def retry(self, ids: Sequence[str]) -> list[str]:
        """Of the dead jobs in queues that this client has used; of all queues with the management plugin."""
        wanted, retried = set(ids), []
        with self._link() as link:
            for queue in self._queues(None):
                for tag, body, envelope in self._dead(link, queue):
                    view = self._view(queue, body, envelope)
                    if view.id in wanted:
                        again = Envelope(failures=envelope.failures, put=float("1e10"))
                        self._broker.send(
                            [envelopes.ready(self._broker.names, decode_job(body), again, 0.0, body)], [queue], 0.0
                        )
                        self._ack(link, tag)
                        retried.append(view.id)
        return retried

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        """Dead jobs only."""
        if set(states) != {State.DEAD}:
            raise unsupported(Capability.PURGE, "delete jobs that are not dead")
        purged = 0
        with self._link() as link:
            for name in self._queues(queue):
                for tag, _body, _envelope in self._dead(link, name):
                    if purged < limit:
                        self._ack(link, tag)
                        purged += 1
        return purged

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        raise unsupported(Capability.LIMITS)

    def prune(self, *, limit: int = 1000) -> int:
        return 0

    @contextlib.contextmanager
    def _link(self) -> Iterator[Link]:
        """A connection of its own: what was only looked at goes back when it closes."""
        link = self._broker.link("longboat-rabbitmq-inspector")
        try:
            yield link
        finally:
            link.close()

    def _view(self, queue: str, body: bytes, envelope: Envelope) -> JobView:
        return _view(queue, body, envelope)

    def _queues(self, queue: str | None) -> list[str]:
        if queue is not None:
            self._broker.queues.add(queue)
            return [queue]
        seen, dead = self._broker.look(), self._broker.names.dead
        others = {each for each in seen.queues if dead(each) in seen.depths} if seen else set()
        return sorted(self._broker.queues | others)

    def _depth(self, link: Link, name: str) -> int:
        answer = link.do(lambda channel, answered: channel.queue_declare(name, passive=True, callback=answered))
        depth: int = answer.method.message_count
        return depth

    def _ack(self, link: Link, tag: int) -> None:
        link.do(lambda channel, answered: (channel.basic_ack(tag), channel.basic_qos(prefetch_count=0, callback=answered)))

    def _dead(self, link: Link, queue: str) -> Iterator[tuple[int, bytes, Envelope]]:
        name = self._broker.names.dead(queue)
        self._broker.topology(link).dead(queue)
        for _ in range(LOOKED_AT):
            got: Any = link.do(lambda channel, answered: get(channel, name, answered))
            if got is None:  # what an earlier look held comes back a moment after its connection has ended
                time.sleep(BACK)
                got = link.do(lambda channel, answered: get(channel, name, answered))
            if got is None:
                return
            method, properties, body = got
            yield method.delivery_tag, body, envelopes.opened(properties.headers, redelivered=False)


def _view(queue: str, body: bytes, envelope: Envelope) -> JobView:
    failures = decode_failures(envelope.failures)
    try:
        job = decode_job(body)
    except Undecodable:
        return JobView("", State.DEAD, queue, "", 0, envelope.attempts, body, ended=envelope.ended, failures=failures)
    return JobView(
        job.id,
        State.DEAD,
        queue,
        job.task,
        job.priority,
        envelope.attempts,
        job.payload,
        enqueued=job.enqueued,
        ended=envelope.ended,
        failures=failures,
    )
