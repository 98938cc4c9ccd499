"""RabbitmqBroker: put as confirmed, mandatory publishes, and the links that consumers and the inspector use."""

# parameters of the contract that RabbitMQ has no use for

from __future__ import annotations

import contextlib
import copy
import os
import threading
from collections.abc import Callable, Collection, Sequence

import pika  # type: ignore[import-untyped]

from longboat.brokers.rabbitmq import envelope
from longboat.brokers.rabbitmq.capabilities import CAPABILITIES, WITH_STORE, unsupported
from longboat.brokers.rabbitmq.consumer import RabbitmqConsumer
from longboat.brokers.rabbitmq.holding import evict
from longboat.brokers.rabbitmq.inspector import RabbitmqInspector
from longboat.brokers.rabbitmq.link import Link, Message, Unroutable
from longboat.brokers.rabbitmq.lookup import StoredInspector
from longboat.brokers.rabbitmq.management import Depths, Management
from longboat.brokers.rabbitmq.names import LONGEST, Names, units_of
from longboat.brokers.rabbitmq.results import RabbitmqResults
from longboat.brokers.rabbitmq.stored import Stored
from longboat.brokers.rabbitmq.stored_consumer import StoredConsumer
from longboat.brokers.rabbitmq.topology import Topology
from longboat.brokers.rabbitmq.transfer import RabbitmqTransfer
from longboat.contract.broker import Broker, Token
from longboat.contract.capabilities import Capability, absent
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core.clock import SYSTEM
from longboat.core.codec import encode_job
from longboat.core.job import DEFAULT_QUEUE, Failure, Job
from longboat.errors import BrokerError

LEAST_HEARTBEAT = 2
"""Seconds: below, busy machines would lose connections."""

DEFAULT_PREFIX = "longboat"
HOLD = 600.0
"""Seconds that a delivery is held before it is made anew: below the server's consumer_timeout, by two minutes at least."""


class RabbitmqBroker:
    """Keeps jobs in quorum queues (or classic ones) of the server that the URL names.

    At least once: a put or settle whose answer was lost may have been stored, and what is tried again is a second message.
    `timeout`: seconds that a call may take. Survives fork: the child opens its own connections.
    """

    capabilities = CAPABILITIES

    def __init__(
        self,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        classic: bool = False,
        timeout: float = 2.0,
        hold: float = HOLD,
        where: str | None = None,
        store: Broker | None = None,
        management: str | None = None,
    ) -> None:
        """`store`: whose board keeps what messages cannot; it is closed with this broker.

        `management`: where the server's management plugin answers, http://host:15672. Raises ValueError.
        """
        self._parameters = pika.URLParameters(url)
        self._parameters.blocked_connection_timeout = None
        self._parameters.socket_timeout = self._parameters.stack_timeout = timeout
        self.names = Names(prefix)
        self._classic = classic
        self._timeout = timeout
        self.hold = hold
        self._where = where or url
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._link: Link | None = None
        self._topology: Topology | None = None
        self.queues = {DEFAULT_QUEUE}
        """Those that this client has used, and the usual one: a server tells nobody but its managers what queues it has."""
        self._management = None if management is None else self._manager(management)
        self.results: ResultStore = absent(unsupported(Capability.RESULTS))
        self.kv: KV = absent(unsupported(Capability.KV))
        self.inspector: Inspector = RabbitmqInspector(self)
        self.transfer: Transfer = absent(unsupported(Capability.TRANSFER))
        self._stored: Stored | None = None
        if store is not None:
            self._stored = stored = Stored(self, store)
            self.capabilities = WITH_STORE
            self.results, self.kv = RabbitmqResults(self, stored), store.kv
            self.inspector, self.transfer = StoredInspector(self, stored), RabbitmqTransfer(self, stored)

    def _manager(self, url: str) -> Management:
        login, vhost = self._parameters.credentials, self._parameters.virtual_host
        user, password = (getattr(login, name, "") for name in ("username", "password"))  # with a certificate there is none
        return Management(url, user, password, vhost, self._timeout)

    def look(self) -> Depths | None:
        """What the management plugin tells; None where it is not to be asked, or does not answer."""
        return None if self._management is None else self._management.look(self.names)

    def link(self, name: str = "longboat-rabbitmq", *, heartbeat: int | None = None) -> Link:
        """A new connection."""
        parameters = copy.copy(self._parameters)
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
                self._link = self.link()
                self._topology = self.topology(self._link)
            return self._link, self._topology

    def publish(self, messages: Sequence[Message], declare: Callable[[Topology], None]) -> None:
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

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        """As every broker's; without a store nothing is known of earlier puts, neither ids nor tokens."""
        unique = {job.id: job for job in jobs}
        if not unique:
            return []
        bodies = {job.id: encode_job(job) for job in unique.values()}
        self._check_constraints(unique.values())
        longest = max(job.delay for job in unique.values())
        if longest > LONGEST:
            raise unsupported(Capability.LONG_DELAYS, f"delay a job for more than {LONGEST:.0f} s")
        for queue in {job.queue for job in unique.values() if job.expires is not None}:
            self.prepare(queue, longest)  # its time runs from the put, not from when its queues were made
        if self._stored is not None:
            return self._stored.intake.put(unique, bodies, token)
        blank, dated = envelope.Envelope(), envelope.Envelope(put=SYSTEM.now())
        messages = [
            envelope.ready(self.names, job, blank if job.expires is None else dated, job.delay, bodies[job.id])
            for job in unique.values()
        ]
        self.send(messages, {job.queue for job in jobs}, longest)
        return list(unique)

    def _check_constraints(self, jobs: Collection[Job]) -> None:
        for constraints in filter(None, (job.constraints for job in jobs)):
            if constraints.limits or constraints.fairness_key:
                raise unsupported(Capability.LIMITS if constraints.limits else Capability.FAIRNESS)
            if constraints.after and self._stored is None:
                raise unsupported(Capability.DEPENDENCIES)

    def tell(self, exchange: str, key: str, body: bytes) -> None:
        """Whoever listens just now; a message that does not arrive is not missed for long."""
        with contextlib.suppress(BrokerError):
            link, topology = self._shared()
            if exchange == self.names.ended:
                topology.ended()
            link.tell(exchange, key, body)

    def send(self, messages: Sequence[Message], queues: Collection[str], longest: float, dead: Collection[str] = ()) -> None:
        """Publish to these ready queues, by delays up to `longest` seconds, and to the dead queues named."""

        def declare(topology: Topology) -> None:
            _declare(topology, queues, longest, dead)

        self.queues.update(queues, dead)
        self.publish(messages, declare)

    def prepare(self, queue: str, longest: float) -> None:
        """See to the queues of a later `send`, so that what is sent then loses no time."""
        _declare(self._shared()[1], [queue], longest, ())

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> RabbitmqConsumer:
        """Its connection's heartbeat is half the lease, so that the server notices a frozen worker soon after the lease."""
        if not queues:
            what = "serve a worker that names no queues (name them: longboat worker --queues default)"
            raise unsupported(Capability.EVERY_QUEUE, what)
        self.queues.update(queues)
        link = self.link("longboat-rabbitmq-consumer", heartbeat=max(LEAST_HEARTBEAT, int(min(lease, 120.0) / 2)))
        try:
            topology = self.topology(link)
            for queue in queues:
                topology.ready(queue)
            mine = list(dict.fromkeys(queues))
            if self._stored is not None:
                return StoredConsumer(self, self._stored, link, mine, frozenset(tasks), lease, name)
            return RabbitmqConsumer(self, link, mine, frozenset(tasks), lease, name)
        except BaseException:
            link.close()
            raise

    def evict(self, consumer: str, failure: Failure) -> int:
        """Counts, and charges, what it kept in a queue of its own; the server itself gives back what its connection held."""
        came = self._stored.evict(consumer, failure) if self._stored is not None else 0
        link = self.link("longboat-rabbitmq-evict")
        try:
            return max(came, evict(self, link, consumer, failure))
        finally:
            link.close()

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None and self._pid == os.getpid():
            link.close()
        if self._stored is not None:
            self._stored.store.close()


def _declare(topology: Topology, queues: Collection[str], longest: float, dead: Collection[str]) -> None:
    for queue in queues:
        topology.ready(queue)
    for queue in dead:
        topology.dead(queue)
    if longest > 0:
        topology.steps(units_of(longest).bit_length() - 1)
