"""ManagerTransit: jobs on their way into, or out of, the store behind the server."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import Calls
from longboat.contract.transfer import Parcel


class ManagerTransit:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def pack(self, name: str, ids: Sequence[str]) -> list[Parcel]:
        return self._calls.call(wire.PACK, name, ids)

    def packed(self) -> list[str]:
        return self._calls.call(wire.PACKED)

    def unpack(self, name: str, parcels: Sequence[Parcel]) -> list[str]:
        return self._calls.call(wire.UNPACK, name, parcels)

    def delivered(self, name: str) -> None:
        self._calls.call(wire.DELIVERED, name)
