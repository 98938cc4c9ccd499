"""Every broker as an app finds it, by a URL; real servers, each test with a store of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from longboat.brokers.manager import Server
from longboat.brokers.memory import MemoryBroker
from longboat.core.job import new_id
from tests.rigs import harnesses


@contextmanager
def _redis(_: Path) -> Iterator[str]:
    yield f"{harnesses._redis_server().url}?prefix={new_id()}"


@contextmanager
def _postgres(_: Path) -> Iterator[str]:
    url = harnesses._postgres_server().url
    yield f"{url}{'&' if '?' in url else '?'}schema=s{new_id()}"


@contextmanager
def _manager(folder: Path) -> Iterator[str]:
    (folder / "key").write_bytes(key := os.urandom(32).hex().encode())
    (folder / "key").chmod(0o600)
    with Server(MemoryBroker(), ("127.0.0.1", 0), key) as server:
        yield f"manager://127.0.0.1:{server.address[1]}?authkey_file={folder}/key"


@contextmanager
def _rabbitmq(_: Path) -> Iterator[str]:
    yield f"{harnesses._rabbitmq_server().url}?prefix={new_id()}"


@contextmanager
def _rabbitmq_and_store(folder: Path) -> Iterator[str]:
    with _rabbitmq(folder) as url:
        yield f"{url}&results=sqlite:///{folder}/store.db"


URLS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "manager": _manager,
    "redis": _redis,
    "postgres": _postgres,
    "rabbitmq+store": _rabbitmq_and_store,
    "rabbitmq": _rabbitmq,
}
