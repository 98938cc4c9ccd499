"""ManagerTransit: jobs on their way into, or out of, the store behind the server."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import Calls
from longboat.contract.transfer import ExportedJob


class ManagerTransfer:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        return self._calls.call(wire.EXPORT, name, ids)

    def unconfirmed(self) -> list[str]:
        return self._calls.call(wire.UNCONFIRMED)

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        return self._calls.call(wire.IMPORT, name, exported_jobs)

    def confirm(self, name: str) -> None:
        self._calls.call(wire.CONFIRM, name)
