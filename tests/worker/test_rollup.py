"""What many workers wrote of one bucket of time becomes one note; nothing is counted twice or lost."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Lease, Settlement
from longboat.contract.kv import KV
from longboat.core.job import Done
from longboat.observe.history import GRAINS, Grain, slices
from longboat.testing.conformance.stage import job
from longboat.worker import rollup
from longboat.worker.recorder import Recorder
from longboat.worker.rollup import SETTLED, Rollup

NOW = 100_000.0
GRAIN = GRAINS[0]


def worked(kv: KV, workers: int, *times: float) -> None:
    """So many workers, each with one job at each of these times."""
    for _ in range(workers):
        recorder = Recorder(kv, "w")
        for now in times:
            recorder.settled([Settlement(Lease(job(task="t", queue="q"), 1, 1), Done(b""))])
            recorder.run(now)


def counted(kv: KV, grain: Grain = GRAIN) -> dict[float, int]:
    return {start: sum(tally.succeeded for tally in some.values()) for start, some in slices(kv, grain, 0.0, 1e9)}


def test_notes_of_a_bucket_that_is_over_become_one() -> None:
    kv = MemoryBroker().kv
    old, young = NOW - SETTLED - 500, NOW - 20
    worked(kv, 30, old, old + 10, young)
    before = counted(kv)
    Rollup(kv).roll(GRAIN, NOW)
    assert counted(kv) == before == {old: 30, old + 10: 30, young: 30}
    starts = [key.partition(":")[0] for key, _ in kv.entries(GRAIN.namespace)]
    assert [starts.count(f"{int(start):012d}") for start in before] == [1, 1, 30]
    assert len(kv.entries(GRAINS[1].namespace)) == 60


def test_it_goes_on_where_it_was_and_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "EVERY", 0.0)
    monkeypatch.setattr(rollup, "TURN", 0.2)
    kv = MemoryBroker().kv
    one, other = Rollup(kv), Rollup(kv)
    start = NOW - SETTLED - 500
    worked(kv, 3, start)
    one.run(NOW)
    assert len(kv.entries(GRAIN.namespace)) == 1
    worked(kv, 3, start + 600)
    other.run(NOW + 600)
    assert len(kv.entries(GRAIN.namespace)) == 4, "it is not its turn"
    threading.Event().wait(0.25)
    other.run(NOW + 600)
    assert counted(kv) == {start: 3, start + 600: 3}
    assert len(kv.entries(GRAIN.namespace)) == 2


def test_what_was_rolled_up_is_forgotten_no_later_than_it_would_have_been() -> None:
    kv: Any = MemoryBroker().kv
    kept: list[float] = []
    write = kv.write

    def watched(namespace: str, entries: Any) -> None:
        kept.extend(entry.keep for entry in entries if entry.value is not None and namespace == GRAIN.namespace)
        write(namespace, entries)

    start = NOW - SETTLED - 1000
    worked(kv, 2, start)
    kv.write = watched
    Rollup(kv).roll(GRAIN, NOW)
    assert kept == [GRAIN.keep - (NOW - start)]


def test_a_clock_that_was_wrong_stops_it_for_no_longer_than_it_was() -> None:
    kv = MemoryBroker().kv
    Rollup(kv).roll(GRAIN, NOW + 10 * 86400)
    start = NOW - SETTLED - 500
    worked(kv, 4, start)
    Rollup(kv).roll(GRAIN, NOW)
    assert len(kv.entries(GRAIN.namespace)) == 1
    assert counted(kv) == {start: 4}
