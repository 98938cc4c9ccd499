"""How the conformance suite and the model meet the brokers that Longboat ships."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from longboat.brokers.companion import CompanionBroker
from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker
from longboat.contract.carrier import Envelope, Message
from longboat.core.clock import SYSTEM, Clock
from longboat.core.job import MESSAGE_VERSION, Job, new_id, order_of
from longboat.testing.conformance import NewBroker
from tests.rigs.carrier import MemoryCarrier
from tests.rigs.servers.postgres import PostgresServer
from tests.rigs.servers.postgres import available as postgres_unavailable
from tests.rigs.servers.process import ServerProcess
from tests.rigs.servers.rabbitmq import RabbitmqServer
from tests.rigs.servers.rabbitmq import available as rabbitmq_unavailable
from tests.rigs.servers.redis import RedisServer
from tests.rigs.servers.redis import available as redis_unavailable

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq import RabbitmqCarrier

Server = TypeVar("Server", bound=ServerProcess)


class NewMemory:
    def __init__(self, _folder: Path, clock: Clock) -> None:
        self.broker = MemoryBroker(clock=clock)

    def open(self) -> Broker:
        return self.broker

    def inject(self, raw: bytes, queue: str) -> None:
        with self.broker._store.locked() as now:
            self.broker._store.add(Job(MESSAGE_VERSION, new_id(), "", b"", queue), raw, now)


class NewSqlite:
    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path = folder / f"{new_id()}.db"
        self.clock = clock

    def open(self) -> Broker:
        from longboat.brokers.sqlite import SqliteBroker

        return SqliteBroker(str(self.path), clock=self.clock)

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path)

    def inject(self, raw: bytes, queue: str) -> None:
        job_id = new_id()
        seq = order_of(job_id)
        with closing(self.open()) as broker:
            broker.inspector.counts()  # the store is made at its first use
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("INSERT INTO longboat_jobs VALUES (?, ?, ?)", (seq, job_id, raw))
            db.execute("INSERT INTO longboat_ready VALUES (?, 0, ?, ?, 0, 0, NULL, NULL)", (queue, seq, job_id))
            db.execute(
                "INSERT INTO longboat_counts VALUES (?, 'ready', 1) ON CONFLICT (queue, state) DO UPDATE SET n = n + 1",
                (queue,),
            )


class NewRedis:
    """Each store is a prefix of its own on one server of this process."""

    def __init__(self, _folder: Path, clock: Clock) -> None:
        self.server = _redis_server()
        self.prefix = new_id()
        self.clock = None if clock is SYSTEM else clock

    def open(self) -> Broker:
        from longboat.brokers.redis import RedisBroker

        return RedisBroker(self.server.url, prefix=self.prefix, clock=self.clock)

    def inject(self, raw: bytes, queue: str) -> None:
        from longboat.brokers.redis.keys import key_of
        from longboat.brokers.redis.layout import LAYOUT

        key, names = key_of(new_id()), f"{{{self.prefix}}}:"
        self.server.command("HSETNX", f"{names}numbers", "layout", LAYOUT)
        place = self.server.command("HINCRBY", f"{names}numbers", "place", 1)
        self.server.command("HSET", f"{names}jobs", key, raw)
        self.server.command("RPUSH", f"{names}ready:0:{queue}", place.to_bytes(6, "big") + key)
        self.server.command("ZADD", f"{names}levels:{queue}", 0, 0)
        self.server.command("HINCRBY", f"{names}counts", f"ready:{queue}", 1)


class NewPostgres:
    """Each store is a schema of its own on one server of this process."""

    def __init__(self, _folder: Path, clock: Clock) -> None:
        self.server = _postgres_server()
        self.schema = f"s{new_id()}"
        self.clock = None if clock is SYSTEM else clock

    def open(self) -> Broker:
        from longboat.brokers.postgres import PostgresBroker

        return PostgresBroker(self.server.url, schema=self.schema, clock=self.clock)

    def connect(self) -> object:
        import psycopg

        return psycopg.connect(self.server.url)

    def inject(self, raw: bytes, queue: str) -> None:
        with closing(self.open()) as broker:
            broker.inspector.counts()  # the store is made at its first use
        schema, name = f'"{self.schema}"', f"'\\x{queue.encode().hex()}'"
        self.server.query(
            f"WITH p AS (SELECT nextval('{schema}.places') AS n), "
            f"j AS (INSERT INTO {schema}.jobs SELECT n, '\\x{new_id().encode().hex()}', {name}, 0, FALSE, "
            f"'\\x{raw.hex()}' FROM p), r AS (INSERT INTO {schema}.ready SELECT n, {name}, 0, 0, 0 FROM p) "
            f"INSERT INTO {schema}.counts VALUES ({name}, 'ready', 1)"
        )


class NewRabbitmq:
    """Each store is a prefix of its own on one server of this process; it has no clock but the server's."""

    def __init__(self, _folder: Path, _clock: Clock) -> None:
        self.server = _rabbitmq_server()
        self.prefix = new_id()

    def open(self) -> Broker:
        from longboat.brokers.rabbitmq import RabbitmqBroker

        return RabbitmqBroker(self.carrier())

    def carrier(self) -> RabbitmqCarrier:
        from longboat.brokers.rabbitmq import Options, RabbitmqCarrier

        return RabbitmqCarrier(self.server.url, Options(prefix=self.prefix))

    def inject(self, raw: bytes, queue: str) -> None:
        with closing(self.carrier()) as carrier:
            carrier.send([Message("", queue, 0, raw, Envelope())])


class NewRabbitmqStore(NewRabbitmq):
    """With a file as the store beside it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder, clock)
        self.store = NewSqlite(folder, clock)

    def open(self) -> Broker:
        return CompanionBroker(self.carrier(), self.store.open())


class NewCompanion:
    """A carrier in memory, and a store in memory beside it. Each client has a broker of its own over the two."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.store = NewMemory(folder, clock)
        self.carrier = MemoryCarrier(clock)
        self.clock = clock

    def open(self) -> Broker:
        return CompanionBroker(self.carrier, self.store.open(), clock=self.clock)

    def inject(self, raw: bytes, queue: str) -> None:
        self.carrier.send([Message(new_id(), queue, 0, raw, Envelope())])


class NewManager:
    """A server in a thread, over a store in memory. It ends with the last client that was opened here."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        from longboat.brokers.manager import Server

        self.store = NewMemory(folder, clock)
        self.key = os.urandom(32)
        server = Server(self.store.open(), ("127.0.0.1", 0), self.key).start()
        self.address = server.address
        weakref.finalize(self, server.close)

    def open(self) -> Broker:
        from longboat.brokers.manager import ManagerBroker

        broker = ManagerBroker(
            *self.address, authkey=self.key, timeout=10.0
        )  # thousands of jobs in one call, on a busy machine
        _homes[broker] = self
        return broker

    def inject(self, raw: bytes, queue: str) -> None:
        self.store.inject(raw, queue)


_homes: weakref.WeakKeyDictionary[Broker, NewManager] = weakref.WeakKeyDictionary()


def _lasting(name: str, make: Callable[[Path], Server]) -> Server:
    """Started now; ended, and its folder removed, when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"longboat-{name}-"))
    server = make(folder).start()

    def remove() -> None:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return server


@functools.cache
def _redis_server() -> RedisServer:
    return _lasting("redis", lambda folder: RedisServer(folder, options=["appendfsync no"]))


@functools.cache
def _postgres_server() -> PostgresServer:
    return _lasting("postgres", lambda folder: PostgresServer(folder, options=["max_connections = 300"]))


@functools.cache
def _rabbitmq_server() -> RabbitmqServer:
    return _lasting("rabbitmq", RabbitmqServer)


ADAPTERS: dict[str, Callable[[Path, Clock], NewBroker]] = {
    "memory": NewMemory,
    "sqlite": NewSqlite,
    "companion": NewCompanion,
    "manager": NewManager,
    "redis": NewRedis,
    "postgres": NewPostgres,
    "rabbitmq": NewRabbitmq,
    "rabbitmq+store": NewRabbitmqStore,
}
"""By name: a new, empty store, in a folder if it needs one, that goes by this clock."""


def unavailable(adapter: str) -> str | None:
    """Why this adapter cannot be tried here, and what to do about it; None: it can."""
    asked = {
        "redis": redis_unavailable,
        "postgres": postgres_unavailable,
        "rabbitmq": rabbitmq_unavailable,
    }.get(adapter.partition("+")[0])
    return asked() if asked else None
