"""The contract for entries: small values that a broker keeps beside its jobs.

Schedules, pauses, progress, logs, counts by time: what many processes must see and none may lose. Each kind has a
namespace of its own, so a broker need not know what the entries are. All calls block and may be made from several
threads. Each answers, or raises BrokerUnavailable, within the broker's time limit. Entries are as durable as jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from longboat.core.bounds import Seconds

ENTRY_LIMIT = 1_000_000
"""Bytes of a value, at most."""


class Entry(msgspec.Struct, array_like=True):
    """A value to be kept under a key."""

    key: str
    """1 to 300 characters. The keys of a namespace are in the order of their code points."""
    value: bytes | None
    """None: delete the entry."""
    keep: Seconds | None = None
    """Seconds until it is forgotten, by the broker's clock, counted anew at each write. None: it stays."""


class KV(Protocol):
    """Entries by namespace and key. An entry is gone from the moment its time is over."""

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values, in the order asked; None where there is no entry."""
        ...

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        """Keys and values in the order of keys: the first `limit` of those above `after` and below `before`."""
        ...

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        """Write all of them or none; a value of None deletes. Raises TooLarge for a value over ENTRY_LIMIT."""
        ...

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        """Write those whose key is not there; returns for each whether it was written. Atomic. Values must not be None."""
        ...

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        """Write this entry if the value is `old` at present (None: there is no entry); returns whether it was. Atomic."""
        ...
