"""pika's connection, made to send what is written together by one call of the socket, and messages from any thread.

pika by itself calls the socket once for each frame, three times for a message, and only in the thread of its loop.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import pika
from pika import frame, spec
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

PIECE = 65_536
"""Bytes that one call of the socket is given, about: many frames, or one that is longer."""
AROUND = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE
"""Bytes of a frame beside what it carries."""


class _Services(SelectorIOServicesAdapter):  # type: ignore[misc]  # its base is not known to mypy
    """Keeps the transport of its connection: pika leaves it open when a server does not say goodbye."""

    transport: Any = None
    socket: socket.socket | None = None
    waits = False
    """pika has bytes that the socket did not take yet."""

    def __init__(self, loop: IOLoop) -> None:
        super().__init__(loop)
        self.lock = threading.Lock()
        """Of all that is written."""

    def create_streaming_connection(
        self, protocol_factory: Any, sock: Any, on_done: Any, ssl_context: Any = None, server_hostname: Any = None
    ) -> Any:
        def done(made: Any) -> None:
            if isinstance(made, tuple):
                self.transport, self.socket = made[0], sock
            on_done(made)

        return super().create_streaming_connection(protocol_factory, sock, done, ssl_context, server_hostname)

    def set_writer(self, fd: int, on_writable: Callable[[], None]) -> None:
        def write() -> None:
            with self.lock:
                on_writable()

        self.waits = True
        super().set_writer(fd, write)

    def remove_writer(self, fd: int) -> bool:
        self.waits = False
        removed: bool = super().remove_writer(fd)
        return removed


class Connection(pika.SelectConnection):  # type: ignore[misc]  # as above
    """Driven by one thread, from its constructor on. Any thread may `send`."""

    _transport: Any
    """pika's. None: before it is connected, and once it is lost."""

    def __init__(self, parameters: pika.URLParameters, **callbacks: Any) -> None:
        self._gathered: list[bytes] | None = None
        """What is being written together."""
        self._plain = parameters.ssl_options is None
        """Else the socket belongs to the loop's thread: TLS must not be read and written at once."""
        self.services = _Services(IOLoop())
        super().__init__(parameters, custom_ioloop=self.services, **callbacks)

    def send(self, frames: Sequence[bytes]) -> None:
        """These, in this order, with nothing between them. In the order of the calls."""
        if self._plain:
            self._write(frames)
            if self.services.waits:  # a loop that waits by select or poll does not look for more by itself
                self.ioloop.add_callback_threadsafe(int)
        else:
            self.ioloop.add_callback_threadsafe(partial(self._write, frames))

    def together(self, call: Callable[[], None]) -> None:
        """What `call` writes is sent when it has returned. In the loop's thread."""
        self._gathered = []
        try:
            call()
        finally:
            gathered, self._gathered = self._gathered, None
            self._write(gathered)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is None:
            self._write([data])
        else:
            self._gathered.append(data)

    def _write(self, frames: Sequence[bytes]) -> None:
        services, transport = self.services, self._transport
        if transport is None:
            return
        with services.lock:
            for piece in _pieces(frames):
                rest = piece
                if self._plain and services.socket is not None and not services.waits:
                    with contextlib.suppress(OSError):  # it is full; or broken, which pika finds out by itself
                        rest = piece[services.socket.send(piece) :]
                if rest:
                    transport.write(rest)


def _pieces(frames: Sequence[bytes]) -> Iterator[bytes]:
    start = size = 0
    for at, each in enumerate(frames, 1):
        size += len(each)
        if size >= PIECE or at == len(frames):
            yield b"".join(frames[start:at])
            start, size = at, 0


@lru_cache(1000)
def _publish_frame(channel: int, exchange: str, key: str, mandatory: bool) -> bytes:
    method = spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)
    made: bytes = frame.Method(channel, method).marshal()
    return made


def message_frames(
    channel: int, frame_max: int, to: tuple[str, str, bool], properties: pika.BasicProperties, body: bytes
) -> Iterator[bytes]:
    """A message as a server that confirmed `frame_max` takes it; `to`: exchange, key and whether it is mandatory."""
    yield _publish_frame(channel, *to)
    yield frame.Header(channel, len(body), properties).marshal()
    most = frame_max - AROUND
    for start in range(0, len(body), most):
        yield frame.Body(channel, body[start : start + most]).marshal()
