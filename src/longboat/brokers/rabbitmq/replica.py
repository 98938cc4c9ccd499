"""A copy of all entries, made by applying a log of commands in its order: every copy of the log's reader says the same.

Whether an entry is over is judged by the clock of whoever writes or reads: a machine whose clock is wrong misleads itself
alone. From time to time somebody writes all entries into the log, a snapshot, so that the log can lose its beginning.
"""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from longboat.contract.kv import Entry
from longboat.core.codec import decoded

SNAPSHOT_AFTER = 8_000_000
"""Bytes of the log after which there is another snapshot, or twice what it would have."""
SLACK = 600.0
"""Seconds that an entry is kept after its time: some machine's clock may be slow by less."""
AGAIN = 60.0
"""Seconds after which a snapshot that was begun and never finished is given up."""
PIECE = 1_000_000
"""Bytes of entries in one piece of a snapshot, unless a single one is larger."""

Kept = tuple[str, str, bytes, float]
"""Namespace, key, value, and the wall-clock time at which it is over."""

Told = tuple[int, list[bool]]
"""The number of a command of one's own, and what it did to each of its entries."""


class Piece(msgspec.Struct, array_like=True):
    """A part of a snapshot."""

    begun: int
    """The place in the log at which it was begun: it holds all up to there."""
    index: int
    count: int
    kept: list[Kept]


class Command(msgspec.Struct, array_like=True):
    """One line of the log."""

    kind: Literal["write", "absent", "compare", "mark", "begin", "piece"]
    """`mark` changes nothing: who wrote it knows by it how far it has read. `begin`: the writer makes a snapshot."""
    who: str
    number: int
    at: float
    """Wall-clock time of the writer."""
    namespace: str = ""
    entries: list[Entry] = []
    old: bytes | None = None
    piece: Piece | None = None


class Replica:
    """Not locked. `me`: under which name this process writes into the log."""

    def __init__(self, me: str) -> None:
        self._me = me
        self.snapshot: list[Command] = []
        """To be written into the log by this process."""
        self.wanted = False
        """It is time for somebody to begin a snapshot."""
        self.size = 0
        """Bytes of all entries, and of those that are over since a short time."""
        self._kept: dict[str, dict[str, tuple[bytes, float]]] = {}
        self._sorted: dict[str, list[str]] = {}
        self._ends: list[tuple[float, str, str]] = []
        """When entries are over, unless they were written anew: for cleaning up."""
        self._since = 0
        self._begun_at = -math.inf
        self._whole = False
        """All that was ever written is known; else the log had lost its beginning, and no snapshot has been met yet."""
        self._first: int | None = None
        self._waiting: list[tuple[int, Command, int]] = []
        self._pieces: dict[int, dict[int, Piece]] = {}

    # --- the log

    def take(self, place: int, body: bytes) -> list[Told]:
        """One more line, and its place. Places grow, by more than one now and then."""
        command = decoded(body, Command)
        if self._first is None:
            self._first = place
            self._whole = place == 0
        if command is None:
            return []
        if not self._whole:
            return self._piece_together(place, command, len(body))
        return self._apply(place, command, len(body))

    def _piece_together(self, place: int, command: Command, size: int) -> list[Told]:
        if (piece := command.piece) is None:
            self._waiting.append((place, command, size))
            if command.kind != "mark" or command.who != self._me:
                return []
            begun = place if self._first is None else self._first - 1  # nobody left a snapshot: what is there is all
        else:
            pieces = self._pieces.setdefault(piece.begun, {})
            pieces[piece.index] = piece
            if len(pieces) < piece.count or piece.begun < (self._first or 0):
                return []
            for each in pieces.values():
                for namespace, key, value, until in each.kept:
                    self._set(namespace, key, value, until)
            begun = piece.begun
        self._whole = True
        waiting, self._waiting, self._pieces = self._waiting, [], {}
        return [told for at, each, length in waiting if at > begun for told in self._apply(at, each, length)]

    def _apply(self, place: int, command: Command, size: int) -> list[Told]:
        self._clean()
        did: list[bool] = []
        if command.kind == "begin":
            self._begin(place, command)
        elif command.kind != "piece":
            did = [self._do(command, entry) for entry in command.entries]
            self._since += size
            self.wanted = self.wanted or (self._since > self._threshold and command.at >= self._begun_at + AGAIN)
        return [(command.number, did)] if command.who == self._me else []

    def _do(self, command: Command, entry: Entry) -> bool:
        """Whether it was done."""
        if command.kind != "write":
            value = self._value(command.namespace, entry.key, command.at)
            if value != (command.old if command.kind == "compare" else None):
                return False
        self._write(command, entry)
        return True

    def _begin(self, place: int, command: Command) -> None:
        """Of several who begin a snapshot the first one makes it."""
        if command.at >= self._begun_at + AGAIN:
            self._begun_at, self._since, self.wanted = command.at, 0, False
            if command.who == self._me:
                self.snapshot = list(self._written_down(place))

    @property
    def _threshold(self) -> int:
        return max(SNAPSHOT_AFTER, 2 * self.size)

    def _written_down(self, place: int) -> Iterator[Command]:
        pieces: list[list[Kept]] = [[]]
        size = 0
        for namespace, entries in self._kept.items():
            for key, (value, until) in entries.items():
                if size > PIECE:
                    pieces.append([])
                    size = 0
                pieces[-1].append((namespace, key, value, until))
                size += len(value) + len(key) + len(namespace)
        for index, kept in enumerate(pieces):
            yield Command("piece", self._me, -1, time.time(), piece=Piece(place, index, len(pieces), kept))

    # --- the entries

    def _write(self, command: Command, entry: Entry) -> None:
        if entry.value is None:
            self._delete(command.namespace, entry.key)
        else:
            until = math.inf if entry.keep is None else command.at + entry.keep
            self._set(command.namespace, entry.key, entry.value, until)

    def _set(self, namespace: str, key: str, value: bytes, until: float) -> None:
        self._delete(namespace, key, stays=True)
        entries = self._kept.setdefault(namespace, {})
        if key not in entries and namespace in self._sorted:
            bisect.insort(self._sorted[namespace], key)
        entries[key] = (value, until)
        self.size += len(namespace) + len(key) + len(value)
        if until < math.inf:
            bisect.insort(self._ends, (until, namespace, key))

    def _delete(self, namespace: str, key: str, *, stays: bool = False) -> None:
        entries = self._kept.get(namespace, {})
        if key not in entries:
            return
        self.size -= len(namespace) + len(key) + len(entries[key][0])
        if stays:
            return
        del entries[key]
        if namespace in self._sorted:
            keys = self._sorted[namespace]
            del keys[bisect.bisect_left(keys, key)]
        if not entries:
            del self._kept[namespace]
            self._sorted.pop(namespace, None)

    def _clean(self) -> None:
        if not self._ends or self._ends[0][0] > (now := time.time() - SLACK):
            return
        over = bisect.bisect_right(self._ends, (now, "", ""))
        for until, namespace, key in self._ends[:over]:
            if self._kept.get(namespace, {}).get(key, (b"", math.inf))[1] <= until:
                self._delete(namespace, key)
        del self._ends[:over]

    def _value(self, namespace: str, key: str, now: float) -> bytes | None:
        value, until = self._kept.get(namespace, {}).get(key, (None, math.inf))
        return value if now < until else None

    def count(self, namespace: str) -> int:
        """About: some of them may be over."""
        return len(self._kept.get(namespace, ()))

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        now = time.time()
        return [self._value(namespace, key, now) for key in keys]

    def entries(self, namespace: str, after: str, before: str | None, limit: int) -> list[tuple[str, bytes]]:
        now, kept = time.time(), self._kept.get(namespace, {})
        keys = self._sorted.get(namespace)
        if keys is None:
            keys = sorted(kept)
            if kept:
                self._sorted[namespace] = keys
        found: list[tuple[str, bytes]] = []
        for at in range(bisect.bisect_right(keys, after), len(keys)):
            if len(found) >= limit or (before is not None and keys[at] >= before):
                break
            value, until = kept[keys[at]]
            if now < until:
                found.append((keys[at], value))
        return found
