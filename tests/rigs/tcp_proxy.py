"""A TCP proxy that loses things the way networks do: it stands still without closing, cuts, and loses or delays messages."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PATIENCE = 20.0


class Proxy:
    """Between clients and a server of this machine. What it took in is passed on once it may, whoever has hung up since."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._lose = b""
        self._hold = b""
        self.lost = threading.Event()
        """An answer was lost."""
        self.held = threading.Event()
        """A request is being held."""
        self._release = threading.Event()
        self._delivered = threading.Event()
        self._go_on = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.change: Callable[[bytes], bytes] = lambda answer: answer
        """What becomes of each answer."""
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def pause(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def lead_to(self, port: int) -> None:
        """New connections go to this port; those that are open stay where they are."""
        self._to_port = port

    def cut(self) -> None:
        """Close all connections at once."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.close()

    def lose_answer_to(self, needle: bytes) -> None:
        """The next request with these bytes reaches the server; its connection is closed before the answer passes."""
        self.lost.clear()
        self._lose = needle

    def hold(self, needle: bytes) -> None:
        """The next request with these bytes is held until `release`, and with it all that follows on its connection."""
        self.held.clear()
        for event in (self._release, self._delivered, self._go_on):
            event.clear()
        self._hold = needle

    def release(self, then: Callable[[], object]) -> None:
        """Send what was held; `then` is called while the connection it came by is still open."""
        self._release.set()
        assert self._delivered.wait(PATIENCE)
        then()
        self._go_on.set()

    def close(self) -> None:
        self._closed = True
        self._flowing.set()
        self._release.set()
        self._go_on.set()
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._to_port), timeout=PATIENCE)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(client, server)
            with self._lock:
                self._pairs.add(pair)
            threading.Thread(target=self._requests, args=(pair,), daemon=True).start()
            threading.Thread(target=self._answers, args=(pair,), daemon=True).start()

    def _requests(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.client.recv(1 << 20):
                self._flowing.wait()
                if self._hold and self._hold in data:
                    self._hold = b""
                    self.held.set()
                    self._release.wait(PATIENCE)
                    pair.server.sendall(data)
                    self._delivered.set()
                    self._go_on.wait(PATIENCE)
                    continue
                if self._lose and self._lose in data:
                    self._lose = b""
                    pair.loses = True
                pair.server.sendall(data)
        self._end(pair)

    def _answers(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.server.recv(1 << 20):
                self._flowing.wait()
                if pair.loses:
                    break
                pair.client.sendall(self.change(data))
        if pair.loses:
            self.lost.set()
            pair.close()
        elif self._flowing.is_set():
            pair.close_client()

    def _end(self, pair: _Pair) -> None:
        self._flowing.wait()
        pair.close()
        with self._lock:
            self._pairs.discard(pair)


class _Pair:
    """One connection of a client and the one to the server that stands for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.loses = False

    def close_client(self) -> None:
        _close(self.client)

    def close(self) -> None:
        _close(self.client)
        _close(self.server)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes up the thread that reads from it
    end.close()
