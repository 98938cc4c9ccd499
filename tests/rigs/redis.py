"""What the fault tests of the Redis broker share: calls that must be refused in time, jobs, keys that may stay."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import pytest

from longboat.brokers.redis.scripts import script
from longboat.connect import connect
from longboat.contract.broker import Broker, Consumer, Lease, Settlement
from longboat.contract.results import Listener
from longboat.core.job import MESSAGE_VERSION, Done, Failure, Job, State, new_ids
from longboat.errors import BrokerError, BrokerUnavailable
from tests.rigs.servers.redis import RedisServer

T = TypeVar("T")
IN_TIME = 2.3
"""Seconds: the broker's time limit of 2, and some for a busy machine."""
RESULT = b"\xa4done"
NOBODY = Failure("tests.Nobody", "there is none")


@contextmanager
def opened(url: str) -> Iterator[Broker]:
    broker = connect(url)
    try:
        yield broker
    finally:
        broker.close()


def jobs(n: int, size: int = 0, **fields: Any) -> list[Job]:
    return [Job(MESSAGE_VERSION, each, "work", b"\x81\xa1a\xc4\x01" + bytes(size), **fields) for each in new_ids(n)]


def request_of(name: str) -> bytes:
    """What a request to run this script has in it, and no other."""
    return script(name).sha.encode()


def done(leases: Iterable[Lease]) -> list[Settlement]:
    return [Settlement(lease, Done(RESULT)) for lease in leases]


def ids_of(leases: Iterable[Lease]) -> list[str]:
    return [lease.job.id for lease in leases]


def drain(broker: Broker, consumer: Consumer, n: int) -> list[str]:
    """Run `n` jobs; their ids in order."""
    ran: list[str] = []
    while len(ran) < n:
        leases = consumer.receive(100, wait=2)
        assert leases, f"only {len(ran)} of {n} jobs came: {broker.inspector.counts()}"
        assert consumer.settle(done(leases)) == []
        ran += ids_of(leases)
    return ran


def stubborn(call: Callable[[], T], within: float = 15.0) -> T:
    """As a client that tries again while the broker fails."""
    end = time.monotonic() + within
    while True:
        try:
            return call()
        except BrokerUnavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def refused(call: Callable[[], object], kind: type[BrokerError] = BrokerUnavailable, within: float = IN_TIME) -> BrokerError:
    """The call raises this, in time; what it raised."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    took = time.monotonic() - began
    assert took < within, f"it took {took:.2f} s: {caught.value}"
    assert type(caught.value) is kind, caught.value
    return caught.value


class Clients(NamedTuple):
    """One of everything, each with an open connection and something to do."""

    broker: Broker
    consumer: Consumer
    listener: Listener
    watched: str
    leases: list[Lease]

    def calls(self) -> dict[str, Callable[[], object]]:
        return {
            "put": lambda: self.broker.put(jobs(1, queue="later")),
            "counts": self.broker.inspector.counts,
            "find": lambda: self.broker.inspector.find([self.watched]),
            "get": lambda: self.broker.results.get([self.watched]),
            "watch": lambda: self.listener.watch(["another"]),
            "wait": lambda: self.listener.wait(10),
            "receive": lambda: self.consumer.receive(1, wait=10),
            "settle": lambda: self.consumer.settle(done(self.leases[:1])),
            "extend": self.consumer.extend,
            "evict": lambda: self.broker.evict("nobody", NOBODY),
            "consumer": lambda: self.broker.consumer(["later"], lease=5),
        }

    def all_are_refused(self) -> None:
        """Each call in a thread of its own, all at once."""
        with ThreadPoolExecutor(12) as threads:
            waiting = {name: threads.submit(refused, call) for name, call in self.calls().items()}
        failed = {name: each.exception() for name, each in waiting.items() if each.exception()}
        assert not failed, failed

    def dead_connections_are_told(self) -> None:
        """Each call that must not be sent twice tells of its dead connection, once at most."""
        for call in (
            lambda: self.consumer.receive(1, wait=0),
            lambda: self.consumer.settle(done(self.leases[:1])),
            lambda: self.listener.wait(0),
        ):
            with suppress(BrokerUnavailable):
                call()

    def all_work(self) -> None:
        """At once, but for a result that is not there yet and the wait for a job."""
        self.broker.put(jobs(1, queue="later"))
        assert self.broker.inspector.counts()
        assert self.broker.results.get([self.watched]) is not None
        assert self.consumer.extend().alive
        refused_leases = self.consumer.settle(done(self.leases))
        assert set(ids_of(refused_leases)) <= {self.leases[0].job.id}, "that one may have been settled in the outage"
        [told] = self.listener.wait(IN_TIME)
        assert (told.id, told.state, told.value) == (self.watched, State.SUCCEEDED, RESULT)
        new = self.broker.put(jobs(1))
        assert ids_of(self.consumer.receive(1, wait=2)) == new


@contextmanager
def clients(url: str, lease: float = 30.0) -> Iterator[Clients]:
    with opened(url) as broker, ExitStack() as stack:
        consumer = broker.consumer(["default"], lease=lease)
        listener = broker.results.listen()
        stack.callback(stubborn, listener.close)
        stack.callback(stubborn, consumer.close)
        ids = broker.put(jobs(3))
        listener.watch(ids[2:])
        yield Clients(broker, consumer, listener, ids[2], consumer.receive(3, wait=2))


def keys_of(server: RedisServer, prefix: str = "longboat") -> set[str]:
    """Names of all keys under the prefix, without it."""
    start = f"{{{prefix}}}:"
    return {key.removeprefix(start) for key in server.command("KEYS", f"{start}*")}


def is_bare(server: RedisServer, prefix: str = "longboat") -> None:
    """Nothing stays of jobs that are gone, but what keeps their ids from being used again."""
    left = {key for key in keys_of(server, prefix) if not key.startswith("client:")} - {"numbers", "remembered"}
    kept = {key: server.command("TYPE", f"{{{prefix}}}:{key}") for key in left}
    assert not kept, kept
