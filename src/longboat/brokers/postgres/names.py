"""Ids, queues and tasks as bytes: PostgreSQL's text holds neither NUL nor what its encoding does not know."""

from __future__ import annotations


def raw(name: str) -> bytes:
    return name.encode(errors="surrogatepass")


def name_of(stored: bytes) -> str:
    try:
        return stored.decode(errors="surrogatepass")
    except UnicodeDecodeError:  # somebody wrote it by hand: it can be looked at at least
        return stored.decode(errors="replace")
