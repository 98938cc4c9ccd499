"""Ids, queues and tasks as bytes: PostgreSQL's text holds neither NUL nor what its encoding does not know."""

from __future__ import annotations

from longboat.contract.broker import Token

_NUMBERS = 4096
"""Puts of a client that share one row. Each passes over the versions of its row that no vacuum has removed."""


def raw(name: str) -> bytes:
    return name.encode(errors="surrogatepass")


def name_of(stored: bytes) -> str:
    try:
        return stored.decode(errors="surrogatepass")
    except UnicodeDecodeError:  # somebody wrote it by hand: it can be looked at at least
        return stored.decode(errors="replace")


def producer(token: Token) -> dict[str, str | int]:
    """The values of the row of `producers` that knows this put, and the key of the one that the client uses next."""
    client, number = token
    turn = number // _NUMBERS
    return {"client": f"{client}/{turn}", "next": f"{client}/{turn + 1}", "number": number}
