"""Servers, clients and peers that do as they like, for the tests of the manager broker."""

from __future__ import annotations

import hmac
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from longboat.brokers.manager import ManagerBroker, Server
from longboat.brokers.manager.frames import MAGIC, NONCE, PROOF, Connection
from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker
from longboat.core.job import MESSAGE_VERSION, Job, new_id

KEY = b"k" * 32


def job(payload: bytes = b"\x80", queue: str = "q") -> Job:
    return Job(MESSAGE_VERSION, new_id(), "t", payload, queue=queue)


@contextmanager
def served(store: Broker | None = None, port: int = 0) -> Iterator[Server]:
    server = Server(store or MemoryBroker(), ("127.0.0.1", port), KEY)
    with server:
        yield server


@contextmanager
def client(server: Server | tuple[str, int], key: bytes = KEY, timeout: float = 2.0) -> Iterator[ManagerBroker]:
    address = server if isinstance(server, tuple) else server.address
    broker = ManagerBroker(*address, authkey=key, timeout=timeout)
    try:
        yield broker
    finally:
        broker.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    return ours, theirs


@contextmanager
def connections() -> Iterator[tuple[Connection, Connection]]:
    """Client and server, past the handshake."""
    ours, theirs = tcp_pair()
    near, far = Connection(ours, KEY, serves=False), Connection(theirs, KEY, serves=True)
    thread = threading.Thread(target=far.greet)
    thread.start()
    near.greet()
    thread.join()
    try:
        yield near, far
    finally:
        near.close()
        far.close()


def wrong_hello(address: tuple[str, int]) -> bytes:
    """Say hello with a proof that is none; what the server answers."""
    with socket.create_connection(address) as peer:
        peer.settimeout(5)
        exactly(peer, len(MAGIC) + NONCE)
        peer.sendall(MAGIC + os.urandom(NONCE) + hmac.digest(b"wrong", b"", "sha256"))
        return exactly(peer, 1 + PROOF)


def exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = peer.recv(size - len(data))
        if not chunk:
            break
        data += chunk
    return data


class Relay:
    """Passes bytes between a client and a server, and drops the server's next answer when told to."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._target = address
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()[:2]
        self.cut = threading.Event()
        self.lost = threading.Event()
        self._pairs: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._pairs += [near, far]
            for pair in ((near, far, False), (far, near, True)):
                thread = threading.Thread(target=self._pass, args=pair, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pass(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if answers and self.cut.is_set():
                    self.cut.clear()
                    self.lost.set()
                    break
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._threads[0].join()
        for each in self._pairs:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._pairs:
            each.close()
