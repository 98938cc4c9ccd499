"""Attempts of somebody without the key to keep those who have it out of `longboat serve`, and to fill its log."""

from __future__ import annotations

import logging
import multiprocessing
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing import managers
from typing import Any

import pytest

from longboat.brokers.manager import PlainManager
from longboat.brokers.manager.tcp import FROM_ONE, UNPROVEN, dial
from longboat.testing.conformance.stage import job
from tests.rigs.manager import client, served, wrong_hello

HELD = 600
"""Connections that the attacker keeps open."""


@contextmanager
def besieged(address: tuple[str, int], sources: list[str]) -> Iterator[None]:
    """Connections that say nothing, hundreds a second, from these addresses."""
    over = threading.Event()

    def attack() -> None:
        with ExitStack() as opened:
            for n in range(HELD):
                if over.wait(0.003):
                    return
                source = (sources[n % len(sources)], 0)
                opened.enter_context(socket.create_connection(address, timeout=5, source_address=source))
            over.wait(30)

    thread = threading.Thread(target=attack)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("sources", [1, 40], ids=["from one address", "from many"])
def test_silent_connections_keep_clients_out(sources: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "longboat.serve")
    addresses = [f"127.0.0.{n + 2}" for n in range(sources)] if sources > 1 else ["127.0.0.1"]
    with served() as server, client(server) as known, closing(known.consumer(["q"], lease=10.0)) as consumer:
        listening = server._server.listening
        with besieged(server.address, addresses):
            slowest = 0.0
            for _ in range(30):
                began = time.monotonic()
                with client(server) as broker:
                    broker.put([job()])
                slowest = max(slowest, time.monotonic() - began)
                assert listening.unproven <= UNPROVEN
                assert max(map(len, list(listening._unproven.values())), default=0) <= FROM_ONE
            assert len(consumer.receive(30, wait=5.0)) == 30, "a known client keeps its consumer"
        assert slowest < 1.5
    assert len(caplog.records) <= 2 * sources + 2, "one line an address in ten seconds"


def test_a_client_with_the_key_ends_a_shared_queue() -> None:
    class Manager(PlainManager): ...

    tasks: queue.Queue[int] = queue.Queue()
    Manager.register("tasks", callable=lambda: tasks)
    manager = Manager(authkey=b"key", ctx=multiprocessing.get_context("fork"))
    manager.start()
    address: Any = manager.address
    client = dial(address, b"key")
    with pytest.raises(managers.RemoteError, match="shutdown"):
        managers.dispatch(client, None, "shutdown")  # type: ignore[attr-defined]  # typeshed leaves it out
    client.close()
    other = Manager(address=address, authkey=b"key")
    other.connect()
    other.tasks().put(1)  # type: ignore[attr-defined]  # it is registered
    assert manager.tasks().get(timeout=5) == 1  # type: ignore[attr-defined]  # it is registered
    began = time.monotonic()
    manager.shutdown()
    assert time.monotonic() - began < 2
    with pytest.raises(OSError, match="refused"):
        dial(address, b"key")


def test_wrong_keys_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with served() as server:
        for _ in range(50):
            wrong_hello(server.address)
    told = [record.getMessage() for record in caplog.records if "another authkey" in record.getMessage()]
    assert len(told) == 1
