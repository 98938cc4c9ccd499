"""Fetcher: how often a worker without room looks for some."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from longboat.worker.fetcher import Fetcher
from longboat.worker.in_flight import InFlight
from longboat.worker.service import Wake


def test_a_worker_without_room_looks_rarely_until_a_call_has_replied() -> None:
    """One whose slots are taken for hours would else look for room a hundred times a second."""
    status, link = (
        SimpleNamespace(taking=True, failed=print),
        SimpleNamespace(options=SimpleNamespace(burst=False, max_jobs=None)),
    )
    in_flight, looks = InFlight(), []

    class Slept(Wake):
        def sleep(self, seconds: float | None, *, unless: Callable[[], object] = lambda: False) -> None:
            looks.append(seconds)
            assert not unless()
            if len(looks) == 6:
                in_flight.ended["process"] += 1
                assert unless(), "a call that replies before the sleep began would not end it"
            fetcher.stopping = len(looks) == 8

    in_flight.room = Slept()
    full, unused = SimpleNamespace(count=lambda: 0), None
    parts: Any = status, link, in_flight, unused, full, unused
    fetcher = Fetcher(*parts)
    fetcher.loop()
    assert looks == [0.01, 0.02, 0.04, 0.08, 0.1, 0.1, 0.01, 0.02]
