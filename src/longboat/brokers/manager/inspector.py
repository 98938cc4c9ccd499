"""ManagerInspector: the inspector of the store behind the server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import Calls
from longboat.brokers.manager.halves import in_halves
from longboat.core.job import State
from longboat.core.views import ConsumerView, JobView, LimitView, Page
from longboat.errors import TooLarge


class ManagerInspector:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def counts(self) -> Mapping[tuple[str, State], int]:
        return {(queue, state): n for queue, state, n in self._calls.call(wire.COUNTS)}

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        return in_halves(lambda part: self._calls.call(wire.FIND, part), ids)

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """As the contract says; a page of very large jobs holds fewer than `limit`."""
        while True:
            try:
                return self._calls.call(wire.JOBS, state, queue, task, after, limit)
            except TooLarge:
                if limit < 2:
                    raise
                limit //= 2

    def consumers(self) -> list[ConsumerView]:
        return self._calls.call(wire.CONSUMERS)

    def cancel(self, ids: Sequence[str]) -> list[str]:
        return self._calls.call(wire.CANCEL, ids)

    def retry(self, ids: Sequence[str]) -> list[str]:
        return self._calls.call(wire.RETRY, ids)

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        return self._calls.call(wire.PURGE, list(states), queue, limit)

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        return in_halves(lambda part: self._calls.call(wire.LIMITS, part), keys)

    def prune(self, *, limit: int = 1000) -> int:
        return self._calls.call(wire.PRUNE, limit)
