"""Many rows in one statement.

A thread releases the interpreter at each row that it binds or fetches, and beside a busy thread it waits milliseconds to
get it back: a batch of a thousand would hold the lock for a second. So a batch travels as one JSON text and one blob.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

_CHUNK = 64_000_000
"""Bytes in one blob, about: SQLite's own limit is 1e9."""

PIECE = "substr(:blob, (j.value >> 30) + 1, j.value & 1073741823)"
"""SQL: the bytes that belong to the row j of `json_each(:keys)`."""

_to_json = msgspec.json.Encoder().encode


def as_json(value: object) -> str:
    return _to_json(value).decode()


def packed(pieces: Iterable[tuple[str | int, bytes]]) -> Iterator[tuple[str, bytes]]:
    """(keys, blob): a JSON object from each key to where its bytes are in the blob, see PIECE. Keys must be distinct."""
    places: dict[str | int, int] = {}
    parts: list[bytes] = []
    offset = 0
    for key, piece in pieces:
        size = len(piece)
        places[key] = offset << 30 | size
        parts.append(piece)
        offset += size
        if offset >= _CHUNK:
            yield as_json(places), b"".join(parts)
            places, parts, offset = {}, [], 0
    if places:
        yield as_json(places), b"".join(parts)
