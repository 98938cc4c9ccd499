"""Single commands to a Redis server, so that tests look into it without the client that is under test."""

from __future__ import annotations

import socket
from typing import Any, BinaryIO

from tests.rigs.servers.process import HOST

PATIENCE = 5.0


class RedisError(RuntimeError):
    """The server answered with an error."""


def command(port: int, *args: str | int | bytes, password: str = "", patience: float = PATIENCE) -> Any:
    """The reply to one command, over a connection of its own: str, int, None or a list of these.

    Bytes that are no UTF-8 are kept as surrogate escapes. Raises RedisError, and OSError if nothing answers within
    `patience` seconds.
    """
    with socket.create_connection((HOST, port), timeout=patience) as connection, connection.makefile("rb") as replies:
        if password:
            connection.sendall(_request("AUTH", password))
            _reply(replies)
        connection.sendall(_request(*args))
        return _reply(replies)


def _request(*args: str | int | bytes) -> bytes:
    parts = [arg if isinstance(arg, bytes) else str(arg).encode(errors="surrogateescape") for arg in args]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _reply(replies: BinaryIO) -> Any:
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection")
    kind, text = line[:1], line[1:-2].decode(errors="surrogateescape")
    match kind:
        case b"+":
            return text
        case b":":
            return int(text)
        case b"-":
            raise RedisError(text)
        case b"$":
            return None if text == "-1" else _bulk(replies, int(text))
        case b"*":
            return None if text == "-1" else [_reply(replies) for _ in range(int(text))]
    raise ConnectionError(f"no reply of Redis: {line!r}")


def _bulk(replies: BinaryIO, size: int) -> str:
    data = replies.read(size + 2)
    if len(data) < size + 2:
        raise ConnectionResetError("the server closed the connection")
    return data[:-2].decode(errors="surrogateescape")
