"""ManagerBoard: the board of the store behind the server."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import Calls
from longboat.brokers.manager.halves import in_halves
from longboat.contract.kv import Entry


class ManagerKV:
    """What one call writes goes in one message: values of more than a frame together raise TooLarge."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        return in_halves(lambda part: self._calls.call(wire.READ, namespace, part), keys)

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        """As the contract says; a page that does not fit in a message is asked for in several."""
        found: list[tuple[str, bytes]] = []
        while True:
            part = self._calls.call(wire.ENTRIES, namespace, after, before, limit - len(found))
            found += part.entries
            if not part.more:
                return found
            after = found[-1][0]

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        self._calls.call(wire.WRITE, namespace, entries)

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        return self._calls.call(wire.PUT_IF_ABSENT, namespace, entries)

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        return self._calls.call(wire.COMPARE_AND_SET, namespace, entry, old)
