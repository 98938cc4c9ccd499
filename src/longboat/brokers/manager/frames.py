"""Frames on a TCP connection: a handshake in which both sides prove the key, then messages that nobody can change.

The server speaks first: MAGIC and a nonce. The client answers MAGIC, its own nonce and a proof that it has the key; the
server answers with its own proof, or refuses. From the key and both nonces come two keys, one for each direction. A frame is

    length (4 bytes, of the body)   HMAC-SHA256 (32 bytes) of counter and body   body

The counter, one for each direction, is not sent: both sides count. A frame that was repeated, reflected, dropped, reordered
or changed on the way does not fit, and the connection is closed.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import socket
import struct
from collections.abc import Callable
from multiprocessing import AuthenticationError
from typing import Any

from longboat.brokers.manager.serializer import dumps, loads
from longboat.core.clock import SYSTEM
from longboat.errors import TooLarge

MAGIC = b"longboat1\n"
NONCE = 32
PROOF = 32
FRAME_LIMIT = 64_000_000
"""Bytes of one frame's body, at most."""
HANDSHAKE = 5.0
"""Seconds that a handshake may take."""
STALLED = 30.0
"""Seconds that a peer of the server may be silent in the middle of a frame."""

log = logging.getLogger("longboat.serve")

_HEAD = struct.Struct(">I")
_COUNTER = struct.Struct(">Q")
_CHUNK = 1 << 16
_WELCOME, _REFUSED = b"+", b"-"


class Connection:
    """What `multiprocessing.managers` needs of a connection. One thread at a time uses it.

    `until`: the monotonic time at which the call under way raises TimeoutError. None, for a server: between frames a peer
    may be silent for any length of time. EOFError: the peer has closed. AuthenticationError: a frame is not the peer's.
    """

    def __init__(self, sock: socket.socket, key: bytes, *, serves: bool, known: Callable[[], None] = lambda: None) -> None:
        self._sock = sock
        self._key = key
        self._serves = serves
        self._known = known
        self._buffer = bytearray()
        self._sent = self._received = 0
        self._out = self._in = b""
        self.until: float | None = None
        try:
            self._peer = "{}:{}".format(*sock.getpeername())
        except OSError:
            self._peer = "somebody who has left"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):  # notice within two minutes, not two hours, that a machine is gone
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)

    def greet(self) -> None:
        """The handshake. Raises AuthenticationError, saying which side refuses and why."""
        until, self.until = self.until, SYSTEM.monotonic() + HANDSHAKE
        if until is not None:
            self.until = min(until, self.until)
        theirs, ours = self._meet() if self._serves else self._join()
        self._in, self._out = theirs, ours
        self.until = until
        self._known()

    def _meet(self) -> tuple[bytes, bytes]:
        nonce = os.urandom(NONCE)
        self._write(MAGIC + nonce)
        if self._read(len(MAGIC)) != MAGIC:
            raise AuthenticationError("it does not speak this protocol")
        nonces = nonce + self._read(NONCE)
        if not hmac.compare_digest(self._read(PROOF), self._derive(b"client proof", nonces)):
            self._write(_REFUSED + bytes(PROOF))
            raise AuthenticationError("it has another authkey")
        self._write(_WELCOME + self._derive(b"server proof", nonces))
        return self._derive(b"client frames", nonces), self._derive(b"server frames", nonces)

    def _join(self) -> tuple[bytes, bytes]:
        if self._read(len(MAGIC)) != MAGIC:
            raise AuthenticationError("neither `longboat serve` nor a PlainManager of this version listens there")
        nonce = os.urandom(NONCE)
        nonces = self._read(NONCE) + nonce
        self._write(MAGIC + nonce + self._derive(b"client proof", nonces))
        answer, proof = self._read(1), self._read(PROOF)
        if answer != _WELCOME:
            raise AuthenticationError("it refuses this authkey: it has another one")
        if not hmac.compare_digest(proof, self._derive(b"server proof", nonces)):
            raise AuthenticationError("it could not prove that it has the authkey")
        return self._derive(b"server frames", nonces), self._derive(b"client frames", nonces)

    def _derive(self, what: bytes, nonces: bytes) -> bytes:
        return hmac.digest(self._key, b"longboat " + what + nonces, "sha256")

    # --- what the managers call

    def send(self, value: Any) -> None:
        """Send plain data. Raises TooLarge, with nothing sent, for more than FRAME_LIMIT."""
        self.send_bytes(dumps(value))

    def recv(self) -> Any:
        return loads(self.recv_bytes())

    def send_bytes(self, body: bytes) -> None:
        if len(body) > FRAME_LIMIT:
            raise TooLarge(
                f"a message of {len(body):,} bytes is over the limit of {FRAME_LIMIT:,}: send fewer jobs at a time, big "
                "data by path"
            )
        tag = hmac.digest(self._out, _COUNTER.pack(self._sent) + body, "sha256")
        self._sent += 1
        self._write(b"".join((_HEAD.pack(len(body)), tag, body)))

    def recv_bytes(self, maxlength: int = FRAME_LIMIT) -> bytes:
        try:
            return self._frame(maxlength)
        except Exception as error:
            # No answer may follow: it would be read as the answer to the next request.
            self.shut()
            if self._serves and self._in and isinstance(error, AuthenticationError):
                log.warning("gave up %s: %s", self.peer(), error)
            raise

    def _frame(self, maxlength: int) -> bytes:
        head = self._read(_HEAD.size + PROOF, idle=self.until is None)
        size = _HEAD.unpack_from(head)[0]
        if size > maxlength:
            raise AuthenticationError(f"a frame of {size:,} bytes is over the limit of {maxlength:,}")
        body = self._read(size)
        tag = hmac.digest(self._in, _COUNTER.pack(self._received) + body, "sha256")
        if not self._in or not hmac.compare_digest(tag, head[_HEAD.size :]):
            raise AuthenticationError("a frame was changed, repeated or made by somebody without the key")
        self._received += 1
        return body

    def peer(self) -> str:
        """Who is at the other end, for messages."""
        return self._peer

    def fileno(self) -> int:
        return self._sock.fileno()

    def shut(self) -> None:
        """Whoever uses it finds it closed. From any thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._known()
        self._sock.close()

    def __del__(self) -> None:
        # As the standard library does: its proxies, and lost consumers, are dropped without being closed.
        self._sock.close()

    # --- bytes

    def _write(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def _read(self, size: int, *, idle: bool = False) -> bytes:
        buffer = self._buffer
        while len(buffer) < size:
            self._sock.settimeout(self._left())
            try:
                chunk = self._sock.recv(max(_CHUNK, size - len(buffer)))
            except TimeoutError:
                if idle and not buffer:
                    continue
                raise
            if not chunk:
                raise EOFError("the connection was closed")
            buffer += chunk
        data = bytes(buffer[:size])
        del buffer[:size]
        return data

    def _left(self) -> float:
        if self.until is None:
            return STALLED
        left = self.until - SYSTEM.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left
