"""A sorted set of keys, cheap to change anywhere and to read from anywhere, however many there are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any

Key = tuple[Any, ...]

BLOCK = 1000


class Shelf:
    """Keys in sorted blocks: adding, removing and taking the first cost microseconds among a million."""

    def __init__(self) -> None:
        self._blocks: list[list[Key]] = []
        self._lasts: list[Key] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, key: Key) -> None:
        self._size += 1
        if not self._blocks:
            self._blocks.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, key)
        self._lasts[at] = block[-1]
        if len(block) > 2 * BLOCK:
            self._blocks[at : at + 1] = [block[:BLOCK], block[BLOCK:]]
            self._lasts[at : at + 1] = [block[BLOCK - 1], block[-1]]

    def remove(self, key: Key) -> None:
        """Raises KeyError for one that is not here."""
        at = bisect_left(self._lasts, key)
        block = self._blocks[at] if at < len(self._blocks) else []
        place = bisect_left(block, key)
        if place == len(block) or block[place] != key:
            raise KeyError(key)
        self._size -= 1
        del block[place]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at]

    def first(self) -> Key | None:
        return self._blocks[0][0] if self._blocks else None

    def last(self) -> Key | None:
        return self._lasts[-1] if self._lasts else None

    def above(self, key: Key) -> Iterator[Key]:
        """The keys greater than this one, in order; () is below all."""
        at = bisect_right(self._lasts, key)
        if at < len(self._blocks):
            block = self._blocks[at]
            yield from block[bisect_right(block, key) :]
            for block in self._blocks[at + 1 :]:
                yield from block
