"""The contract for the board: small notes that a broker keeps beside its jobs, for whoever works with it.

Schedules, pauses, progress, logs, counts by time: what many processes must see and none may lose hangs here, each kind in
a space of its own, so that a broker need not know what they are. All calls block and are safe to make from several
threads; each answers or raises BrokerUnavailable within the broker's time limit. As durable as jobs are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

ENTRY_LIMIT = 1_000_000
"""Bytes of a note's value, at most."""


class Entry(msgspec.Struct, array_like=True):
    """A value to keep under a key."""

    key: str
    """1 to 300 characters. Keys of a space are in the order of their code points."""
    value: bytes | None
    """None: there shall be no such note."""
    keep: float | None = None
    """Seconds until it is forgotten, counted anew at each write by the broker's clock; None: it stays."""


class KV(Protocol):
    """Notes by space and key. A note whose time is over is as if it were not there, from that moment on."""

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values, in the order asked; None where there is none."""
        ...

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        """Keys and values in the order of keys: those greater than `after` and smaller than `before`, at most `limit`."""
        ...

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        """Write them all, or none; a value of None deletes. Raises TooLarge for a value over NOTE_LIMIT."""
        ...

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        """Write those whose key is not there (values must not be None); tells of each whether it was written. Atomic."""
        ...

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        """Write this note if the value is `old` (None: there is none) at present; whether it was. Atomic."""
        ...
