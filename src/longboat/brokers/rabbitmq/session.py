"""How a process reaches one server: links of its own for what waits, and the one by which all of it is published."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
from collections.abc import Callable, Collection, Sequence

import pika

from longboat.brokers.rabbitmq.capabilities import unsupported
from longboat.brokers.rabbitmq.envelope import publish_of
from longboat.brokers.rabbitmq.link import Link, Publish, Unroutable
from longboat.brokers.rabbitmq.names import LONGEST, Names, units_of
from longboat.brokers.rabbitmq.topology import Topology
from longboat.contract.capabilities import Capability
from longboat.contract.carrier import Message
from longboat.core.job import DEFAULT_QUEUE
from longboat.errors import BrokerError


class Session:
    """Survives fork: the child opens its own connections. Raises ValueError for parameters that pika does not know."""

    def __init__(self, url: str, names: Names, *, classic: bool, timeout: float, where: str) -> None:
        self.parameters = pika.URLParameters(url)
        self.parameters.blocked_connection_timeout = None
        self.parameters.socket_timeout = self.parameters.stack_timeout = timeout
        self.names = names
        self._classic = classic
        self._timeout = timeout
        self._where = where
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._link: Link | None = None
        self._topology: Topology | None = None
        self.queues = {DEFAULT_QUEUE}
        """Those that this client has used, and the usual one: a server tells nobody but its managers what queues it has."""

    def link(self, name: str, *, heartbeat: int | None = None) -> Link:
        """A new connection."""
        parameters = copy.copy(self.parameters)
        if heartbeat is not None:
            parameters.heartbeat = heartbeat
        return Link(parameters, self._timeout, self._where, name)

    def topology(self, link: Link) -> Topology:
        return Topology(link, self.names, classic=self._classic)

    def _shared(self) -> tuple[Link, Topology]:
        if self._pid != os.getpid():  # the parent's connection and its lock stay the parent's
            self._lock, self._link, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._link is None or self._topology is None or self._link.lost is not None:
                if self._link is not None:
                    self._link.close()
                self._link = None
                self._link = self.link("longboat-rabbitmq")
                self._topology = self.topology(self._link)
            return self._link, self._topology

    def publish(self, messages: Sequence[Publish], declare: Callable[[Topology], None] = lambda _: None) -> None:
        """Confirmed on return. `declare` sees to the queues; again when one was deleted since."""
        link, topology = self._shared()
        declare(topology)
        try:
            link.publish(messages)
        except Unroutable as gone:
            topology = self.topology(link)
            declare(topology)
            with self._lock:
                self._topology = topology
            link.publish(gone.messages)

    def send(self, messages: Sequence[Message]) -> None:
        """Confirmed on return."""
        if not messages:
            return
        ready = {each.queue for each in messages if not each.dead}
        dead = {each.queue for each in messages if each.dead}
        longest = max(each.delay for each in messages)
        if longest > LONGEST:
            raise unsupported(Capability.LONG_DELAYS, f"delay a job for more than {LONGEST:.0f} s")
        self.queues.update(ready, dead)
        publishes = [publish_of(self.names, each) for each in messages]
        self.publish(publishes, lambda topology: _declare(topology, ready, longest, dead))

    def declare(self, queue: str, longest: float) -> None:
        _declare(self._shared()[1], [queue], longest, ())

    def tell(self, exchange: str, key: str, body: bytes) -> None:
        """Whoever listens just now; a message that does not arrive is not missed for long."""
        with contextlib.suppress(BrokerError):
            link, topology = self._shared()
            if exchange == self.names.ended:
                topology.ended()
            link.tell(exchange, key, body)

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None and self._pid == os.getpid():
            link.close()


def _declare(topology: Topology, queues: Collection[str], longest: float, dead: Collection[str]) -> None:
    for queue in queues:
        topology.ready(queue)
    for queue in dead:
        topology.dead(queue)
    if longest > 0:
        topology.steps(units_of(longest).bit_length() - 1)
