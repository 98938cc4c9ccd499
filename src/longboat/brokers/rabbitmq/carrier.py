"""RabbitmqCarrier: messages of jobs in quorum queues (or classic ones) of the server that a URL names."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import msgspec

from longboat.brokers.rabbitmq.capabilities import AS_CARRIER, unsupported
from longboat.brokers.rabbitmq.holding import GONE, evict
from longboat.brokers.rabbitmq.link import Link
from longboat.brokers.rabbitmq.looking import look
from longboat.brokers.rabbitmq.names import LEVELS, LONGEST, Names
from longboat.brokers.rabbitmq.receiver import OVER, RabbitmqReceiver
from longboat.brokers.rabbitmq.session import Login, Session
from longboat.contract.capabilities import Capability
from longboat.contract.carrier import Delivery, Look, Place
from longboat.contract.optional import Report
from longboat.core.job import Failure, State, new_id
from longboat.errors import BrokerError

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.management import Depths, Management

LEAST_HEARTBEAT = 2
"""Seconds: below, busy machines would lose connections."""

LOOKS, PAUSE = 50, 0.01
"""Looks at whether an evicted receiver's connection is gone, and the seconds between them."""


class Options(msgspec.Struct):
    """What a URL says beside the server's address."""

    prefix: str = "longboat"
    """What all names of queues and exchanges begin with."""
    levels: int = LEVELS
    """Of priority."""
    classic: bool = False
    """Classic queues instead of quorum queues."""
    timeout: float = 2.0
    """Seconds that a call may take."""
    hold: float = 600.0
    """Seconds that a delivery is held before it is made anew: at most the server's consumer_timeout less two minutes."""
    management: str | None = None
    """Where the server's management plugin answers, http://host:15672."""
    where: str | None = None
    """The URL without its password, for messages."""
    tls: ssl.SSLContext | None = None
    """How the server's certificate is checked, and this client's; None: as pika does by itself."""


class RabbitmqCarrier:
    """At least once: a send whose answer was lost may have been stored, and what is tried again is a second message.

    Survives fork: the child opens its own connections. Raises ValueError for a URL that names no server.
    """

    name = "RabbitMQ"
    longest_delay = LONGEST
    capabilities = AS_CARRIER

    def __init__(self, url: str, options: Options | None = None) -> None:
        options = options or Options()
        self.names = Names(options.prefix, options.levels)
        self.namespace = f"rabbitmq {options.prefix}"
        self._hold = options.hold
        login = Login(url, options.timeout, options.where or url, options.tls)
        self.session = Session(login, self.names, classic=options.classic)
        self._management = None if options.management is None else self._manager(options.management, options.timeout)
        self.check = self.names.check
        self.send = self.session.send
        self.declare = self.session.declare
        self.tell = self.session.write

    def _manager(self, url: str, timeout: float) -> Management:
        parameters = self.session.parameters
        login = parameters.credentials
        user, password = (getattr(login, name, "") for name in ("username", "password"))  # with a certificate there is none
        from longboat.brokers.rabbitmq.management import Management  # http.client takes 10 ms

        return Management(url, user, password, parameters.virtual_host, timeout)

    def receiver(self, queues: Sequence[str], *, lease: float, name: str = "", notified: bool = False) -> RabbitmqReceiver:
        """Its connection's heartbeat is half the lease, so that the server notices a frozen worker soon after the lease."""
        if not queues:
            raise unsupported(Capability.EVERY_QUEUE, "serve a worker that names no queues (name them: --queues default)")
        mine = list(dict.fromkeys(queues))
        self.check(mine)
        self.session.queues.update(mine)
        heartbeat = max(LEAST_HEARTBEAT, int(min(lease, 120.0) / 2))
        link = self.session.link("longboat-rabbitmq-consumer", heartbeat=heartbeat)
        try:
            topology = self.session.topology(link)
            for queue in mine:
                topology.ready(queue)
            receiver = RabbitmqReceiver(self.session, link, mine, lease=lease, hold=self._hold, name=name)
            if notified:
                receiver.listen()
        except BaseException:
            link.close()
            raise
        return receiver

    def notify(self, receiver: str) -> None:
        self.session.tell("", self.names.ear(receiver), b"")

    def announce(self, body: bytes) -> None:
        self.session.tell(self.names.ended, "", body)

    def listen(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> RabbitmqEar:
        return self._ear(self.names.ended, heard, lost)

    def broadcast(self, body: bytes) -> None:
        self.session.tell(self.names.happens, "", body)

    def overhear(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> RabbitmqEar:
        return self._ear(self.names.happens, heard, lost)

    def _ear(self, exchange: str, heard: Callable[[bytes], None], lost: Callable[[], None]) -> RabbitmqEar:
        link = self.session.link("longboat-rabbitmq-listener")
        try:
            ear = self.session.topology(link).ear(new_id(), exchange)
            hear = lambda _channel, _method, _properties, body: heard(body)  # noqa: E731  # a name keeps the next line short
            link.do(lambda channel, answer: channel.basic_consume(ear, hear, auto_ack=True, callback=answer))
        except BaseException:
            link.close()
            raise
        link.on_lost = lost
        return RabbitmqEar(link)

    def mailbox(self, address: str, heard: Callable[[bytes], None], lost: Callable[[], None]) -> RabbitmqMailbox:
        link = self.session.link("longboat-rabbitmq-mailbox")

        def hear(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            heard(body)
            channel.basic_ack(method.delivery_tag)  # what was not heard comes again over the next link

        try:
            queue = self.session.topology(link).mailbox(address)
            link.do(lambda channel, answer: channel.basic_consume(queue, hear, callback=answer))
        except BaseException:
            link.close()
            raise
        link.on_lost = lost
        return RabbitmqMailbox(link, address, queue)

    def connected(self, receiver: str) -> bool:
        """Whether the queue by which it hears is there: it lives as long as its connection."""
        link, ear = self.session.link("longboat-rabbitmq-evict"), self.names.ear(receiver)
        try:
            link.do(lambda channel, answered: channel.queue_declare(ear, passive=True, callback=answered))
        except BrokerError:
            return getattr(link.lost, "reply_code", 0) != GONE
        finally:
            link.close()
        return True

    def evict(self, receiver: str, failure: Failure) -> int:
        """Counts what it kept in a queue of its own; the server itself gives back what its connection held.

        One that hears nothing is not ended while it lives.
        """
        self.session.tell("", self.names.ear(receiver), OVER)
        for _ in range(LOOKS):
            if not self.connected(receiver):
                break
            time.sleep(PAUSE)
        return evict(self.session, receiver, failure)

    def look(self, wanted: Mapping[Place, Collection[str] | None]) -> AbstractContextManager[Look]:
        self.check(queue for queue, _ in wanted)
        self.session.queues.update(queue for queue, _ in wanted)
        return look(self.session, wanted)

    def drop(self, queue: str, limit: int) -> list[Delivery]:
        """Up to `limit` ready jobs of a queue are gone, the highest level first. Returns them."""
        self.check([queue])
        self.session.queues.add(queue)
        with look(self.session, {(queue, level): None for level in self.names.levels}, limit) as found:
            dropped = list(found.found)  # more may come while these go
            found.acknowledge(dropped)
            return dropped

    def depths(self) -> dict[tuple[str, State], int]:
        """Ready and dead jobs of the queues that this client has used.

        With the management plugin of all queues, and running and scheduled ones as they were up to five seconds ago.
        """
        seen, used, names = self._depths(), frozenset(self.session.queues), self.names
        found = seen.counts(names) if seen else {}
        link = self.session.link("longboat-rabbitmq-inspector")
        try:
            topology = self.session.topology(link)
            for queue in sorted(used | (seen.queues if seen else set())):
                if queue in used:
                    topology.ready(queue)
                    topology.dead(queue)
                ready = [names.ready(queue, level) for level in names.levels]
                for state, places in ((State.READY, ready), (State.DEAD, [names.dead(queue)])):
                    there = [name for name in places if queue in used or (seen and name in seen.depths)]
                    if number := sum(_depth(link, name) for name in there):
                        found[queue, state] = number
        finally:
            link.close()
        return found

    def ready_queues(self) -> list[str]:
        """Those that this client has used; all where the management plugin tells what queues there are."""
        seen = self._depths()
        return sorted(self.session.queues | (seen.queues if seen else set()))

    def dead_queues(self) -> list[str]:
        """Those that this client has used; all where the management plugin tells what queues there are."""
        seen, dead = self._depths(), self.names.dead
        others = {each for each in seen.queues if dead(each) in seen.depths} if seen else set()
        return sorted(self.session.queues | others)

    def diagnose(self) -> Report:
        from longboat.brokers.rabbitmq import doctor  # for who asks only

        return doctor.look(self.session, self._management)

    def _depths(self) -> Depths | None:
        return None if self._management is None else self._management.look(self.names)

    def close(self) -> None:
        self.session.close()


class RabbitmqEar:
    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def lost(self) -> bool:
        return self._link.lost is not None

    def close(self) -> None:
        self._link.close()


class RabbitmqMailbox(RabbitmqEar):
    def __init__(self, link: Link, address: str, queue: str) -> None:
        super().__init__(link)
        self.address = address
        self._queue = queue

    def close(self) -> None:
        if not self.lost:
            with contextlib.suppress(BrokerError):
                self._link.do(lambda channel, answer: channel.queue_delete(self._queue, callback=answer))
        super().close()


def _depth(link: Link, name: str) -> int:
    answer = link.do(lambda channel, answered: channel.queue_declare(name, passive=True, callback=answered))
    depth: int = answer.method.message_count
    return depth
