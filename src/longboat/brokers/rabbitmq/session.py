"""How a process reaches one server: links of its own for what waits, and the one by which all of it is published."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import ssl
import threading
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import pika

from longboat.brokers.rabbitmq.capabilities import unsupported
from longboat.brokers.rabbitmq.envelope import publish_of
from longboat.brokers.rabbitmq.link import Link, Publish, Unroutable
from longboat.brokers.rabbitmq.names import LONGEST, Names, units_of
from longboat.brokers.rabbitmq.topology import Topology
from longboat.contract.capabilities import Capability
from longboat.contract.carrier import Message
from longboat.core.job import DEFAULT_QUEUE
from longboat.errors import BrokerError, BrokerUnavailable

log = logging.getLogger("longboat.rabbitmq")


class Login(NamedTuple):
    """How to reach the servers."""

    url: str
    timeout: float
    """Seconds that a call may take."""
    where: str
    """The URL without its password, for messages."""
    tls: ssl.SSLContext | None = None

    def servers(self) -> list[pika.URLParameters]:
        """Each host that the URL names. Raises ValueError for parameters that pika does not know."""
        scheme, _, rest = self.url.partition("://")
        user, at, rest = rest.rpartition("@")
        hosts, slash, more = rest.partition("/")
        return [self._parameters(f"{scheme}://{user}{at}{host}{slash}{more}") for host in hosts.split(",")]

    def _parameters(self, url: str) -> pika.URLParameters:
        parameters = pika.URLParameters(url)
        parameters.blocked_connection_timeout = None
        parameters.socket_timeout = parameters.stack_timeout = self.timeout
        if self.tls is not None:
            parameters.ssl_options = pika.SSLOptions(self.tls, parameters.host)
        return parameters


class Session:
    """Survives fork: the child opens its own connections. Raises ValueError for parameters that pika does not know."""

    def __init__(self, login: Login, names: Names, *, classic: bool) -> None:
        self._servers = login.servers()
        """The one that answered last first."""
        self.names = names
        self.classic = classic
        self.timeout = login.timeout
        self.where = login.where
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._link: Link | None = None
        self._topology: Topology | None = None
        self._rounded = False
        """Somebody was told that a priority has no level of its own."""
        self.queues = {DEFAULT_QUEUE}
        """Those that this client has used, and the usual one: a server tells nobody but its managers what queues it has."""

    def link(self, name: str, *, heartbeat: int | None = None) -> Link:
        """A new connection, to the first server that answers."""
        servers = list(self._servers)
        patience = self.timeout / len(servers)
        for at, server in enumerate(servers):
            parameters = copy.copy(server)
            if heartbeat is not None:
                parameters.heartbeat = heartbeat
            try:
                link = Link(parameters, self.timeout, self.where, name, patience)
            except BrokerUnavailable:
                if at == len(servers) - 1:
                    raise
            else:
                self._servers = servers[at:] + servers[:at]
                return link
        raise AssertionError("there is at least one server")

    @property
    def parameters(self) -> pika.URLParameters:
        """Of the server that answered last."""
        return self._servers[0]

    def topology(self, link: Link) -> Topology:
        return Topology(link, self.names, classic=self.classic)

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
            raise unsupported(Capability.LONG_DELAYS, f"delay a job for more than {LONGEST / 86400:.0f} days")
        self.queues.update(ready, dead)
        if not self._rounded:
            self._say_rounded(messages)
        publishes = [publish_of(self.names, each) for each in messages]
        self.publish(publishes, lambda topology: _declare(topology, ready, longest, dead))

    def _say_rounded(self, messages: Sequence[Message]) -> None:
        """Once: a program that computes its priorities would fill the log."""
        for each in messages:
            if each.priority != (level := self.names.level_of(each.priority)):
                self._rounded = True
                log.warning(
                    "a job of queue %s has priority %d, but RabbitMQ has levels from %d to %d: it counts as %d. "
                    "More levels: ?levels=12. This is told once, for all priorities beyond",
                    *(each.queue, each.priority, self.names.levels[-1], self.names.levels[0], level),
                )
                return

    def declare(self, queue: str, longest_delay: float) -> None:
        _declare(self._shared()[1], [queue], longest_delay, ())

    def held(self, receiver: str, lease: float) -> str:
        """Declares it not over the receiver's own link: if the server refuses, that one and what it holds stay."""
        return self._shared()[1].held(receiver, lease)

    def write(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Into mailboxes by their address; confirmed on return."""
        self.publish([Publish("", self.names.mailbox(address), body, {}, mandatory=False) for address, body in messages])

    def tell(self, exchange: str, key: str, body: bytes) -> None:
        """Whoever listens just now; a message that does not arrive is not missed for long."""
        with contextlib.suppress(BrokerError):
            link, topology = self._shared()
            if exchange:
                topology.fanout(exchange)
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
