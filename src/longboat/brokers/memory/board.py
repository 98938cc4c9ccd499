"""MemoryBoard: notes in sorted order, gone with the process."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

from longboat.contract.kv import NOTE_LIMIT, Note
from longboat.core.clock import Clock
from longboat.errors import TooLarge


class MemoryBoard:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, tuple[bytes, float]]] = {}
        self._keys: dict[str, list[str]] = {}

    def read(self, space: str, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return [self._value(space, key) for key in keys]

    def notes(self, space: str, *, after: str = "", before: str | None = None, limit: int = 1000) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        with self._lock:
            keys = self._keys.get(space, [])
            end = len(keys) if before is None else bisect_left(keys, before)
            for key in keys[bisect_right(keys, after) : end]:
                if len(found) >= limit:
                    break
                if (value := self._value(space, key)) is not None:
                    found.append((key, value))
        return found

    def write(self, space: str, notes: Sequence[Note]) -> None:
        check_sizes(space, notes)
        with self._lock:
            for note in notes:
                self._write(space, note)

    def add(self, space: str, notes: Sequence[Note]) -> list[bool]:
        check_sizes(space, notes)
        added = []
        with self._lock:
            for note in notes:
                added.append(self._value(space, note.key) is None)
                if added[-1]:
                    self._write(space, note)
        return added

    def swap(self, space: str, note: Note, *, old: bytes | None) -> bool:
        check_sizes(space, [note])
        with self._lock:
            if self._value(space, note.key) != old:
                return False
            self._write(space, note)
            return True

    def prune(self, now: float) -> None:
        with self._lock:
            for space in list(self._values):
                for key in [key for key, (_, until) in self._values[space].items() if until <= now]:
                    self._write(space, Note(key, None))

    def _value(self, space: str, key: str) -> bytes | None:
        value, until = self._values.get(space, {}).get(key, (None, 0.0))
        return value if until > self._clock.now() else None

    def _write(self, space: str, note: Note) -> None:
        values, keys = self._values.setdefault(space, {}), self._keys.setdefault(space, [])
        if note.value is not None:
            if note.key not in values:
                insort(keys, note.key)
            values[note.key] = note.value, math.inf if note.keep is None else self._clock.now() + note.keep
        elif values.pop(note.key, None):
            del keys[bisect_left(keys, note.key)]
            if not keys:
                del self._keys[space], self._values[space]


def check_sizes(space: str, notes: Sequence[Note]) -> None:
    """Raises TooLarge for a value over NOTE_LIMIT."""
    for note in notes:
        if note.value is not None and len(note.value) > NOTE_LIMIT:
            raise TooLarge(f"note {note.key!r} of {space!r} has {len(note.value):,} bytes, the limit is {NOTE_LIMIT:,}")
