"""ManagerBoard: the board of the store behind the server."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import Calls
from longboat.brokers.manager.halves import in_halves
from longboat.contract.kv import Note


class ManagerBoard:
    """What one call writes goes in one message: values of more than a frame together raise TooLarge."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def read(self, space: str, keys: Sequence[str]) -> list[bytes | None]:
        return in_halves(lambda part: self._calls.call(wire.READ, space, part), keys)

    def notes(self, space: str, *, after: str = "", before: str | None = None, limit: int = 1000) -> list[tuple[str, bytes]]:
        """As the contract says; a page that does not fit in a message is asked for in several."""
        found: list[tuple[str, bytes]] = []
        while True:
            part = self._calls.call(wire.NOTES, space, after, before, limit - len(found))
            found += part.notes
            if not part.more:
                return found
            after = found[-1][0]

    def write(self, space: str, notes: Sequence[Note]) -> None:
        self._calls.call(wire.WRITE, space, notes)

    def add(self, space: str, notes: Sequence[Note]) -> list[bool]:
        return self._calls.call(wire.ADD, space, notes)

    def swap(self, space: str, note: Note, *, old: bytes | None) -> bool:
        return self._calls.call(wire.SWAP, space, note, old)
