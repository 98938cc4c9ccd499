"""MemoryKV: entries in sorted order, gone with the process."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

from longboat.contract.base_kv import check_entries
from longboat.contract.kv import Entry
from longboat.core.clock import Clock


class MemoryKV:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, tuple[bytes, float]]] = {}
        self._keys: dict[str, list[str]] = {}

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return [self._value(namespace, key) for key in keys]

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        with self._lock:
            keys = self._keys.get(namespace, [])
            end = len(keys) if before is None else bisect_left(keys, before)
            for key in keys[bisect_right(keys, after) : end]:
                if len(found) >= limit:
                    break
                if (value := self._value(namespace, key)) is not None:
                    found.append((key, value))
        return found

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        check_entries(namespace, entries)
        with self._lock:
            for entry in entries:
                self._write(namespace, entry)

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        check_entries(namespace, entries)
        added = []
        with self._lock:
            for entry in entries:
                added.append(self._value(namespace, entry.key) is None)
                if added[-1]:
                    self._write(namespace, entry)
        return added

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        check_entries(namespace, [entry])
        with self._lock:
            if self._value(namespace, entry.key) != old:
                return False
            self._write(namespace, entry)
            return True

    def prune(self, now: float) -> None:
        with self._lock:
            for namespace in list(self._values):
                for key in [key for key, (_, until) in self._values[namespace].items() if until <= now]:
                    self._write(namespace, Entry(key, None))

    def _value(self, namespace: str, key: str) -> bytes | None:
        value, until = self._values.get(namespace, {}).get(key, (None, 0.0))
        return value if until > self._clock.now() else None

    def _write(self, namespace: str, entry: Entry) -> None:
        values, keys = self._values.setdefault(namespace, {}), self._keys.setdefault(namespace, [])
        if entry.value is not None:
            if entry.key not in values:
                insort(keys, entry.key)
            values[entry.key] = entry.value, math.inf if entry.keep is None else self._clock.now() + entry.keep
        elif values.pop(entry.key, None):
            del keys[bisect_left(keys, entry.key)]
            if not keys:
                del self._keys[namespace], self._values[namespace]
