"""What many workers wrote of one bucket of time becomes one note; nothing is counted twice or lost."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Lease, Settlement
from longboat.contract.kv import Board
from longboat.core.job import Done
from longboat.observe.history import GRAINS, Grain, slices
from longboat.testing.conformance.stage import job
from longboat.worker import rollup
from longboat.worker.recorder import Recorder
from longboat.worker.rollup import SETTLED, Rollup

NOW = 100_000.0
GRAIN = GRAINS[0]


def worked(board: Board, workers: int, *times: float) -> None:
    """So many workers, each with one job at each of these times."""
    for _ in range(workers):
        recorder = Recorder(board, "w")
        recorder._rollup._due = float("inf")
        for now in times:
            recorder.settled([Settlement(Lease(job(task="t", queue="q"), 1, 1), Done(b""))])
            recorder.tend(now)


def counted(board: Board, grain: Grain = GRAIN) -> dict[float, int]:
    return {start: sum(tally.succeeded for tally in some.values()) for start, some in slices(board, grain, 0.0, 1e9)}


def test_notes_of_a_bucket_that_is_over_become_one() -> None:
    board = MemoryBroker().board
    old, young = NOW - SETTLED - 500, NOW - 20
    worked(board, 30, old, old + 10, young)
    before = counted(board)
    Rollup(board).roll(GRAIN, NOW)
    assert counted(board) == before == {old: 30, old + 10: 30, young: 30}
    starts = [key.partition(":")[0] for key, _ in board.notes(GRAIN.space)]
    assert [starts.count(f"{int(start):012d}") for start in before] == [1, 1, 30]
    assert len(board.notes(GRAINS[1].space)) == 60


def test_it_goes_on_where_it_was_and_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "EVERY", 0.0)
    monkeypatch.setattr(rollup, "TURN", 0.2)
    board = MemoryBroker().board
    one, other = Rollup(board), Rollup(board)
    start = NOW - SETTLED - 500
    worked(board, 3, start)
    one.tend(NOW)
    assert len(board.notes(GRAIN.space)) == 1
    worked(board, 3, start + 600)
    other.tend(NOW + 600)
    assert len(board.notes(GRAIN.space)) == 4, "it is not its turn"
    threading.Event().wait(0.25)
    other.tend(NOW + 600)
    assert counted(board) == {start: 3, start + 600: 3}
    assert len(board.notes(GRAIN.space)) == 2


def test_what_was_rolled_up_is_forgotten_no_later_than_it_would_have_been() -> None:
    board: Any = MemoryBroker().board
    kept: list[float] = []
    write = board.write

    def watched(space: str, notes: Any) -> None:
        kept.extend(note.keep for note in notes if note.value is not None and space == GRAIN.space)
        write(space, notes)

    start = NOW - SETTLED - 1000
    worked(board, 2, start)
    board.write = watched
    Rollup(board).roll(GRAIN, NOW)
    assert kept == [GRAIN.keep - (NOW - start)]


def test_a_clock_that_was_wrong_stops_it_for_no_longer_than_it_was() -> None:
    board = MemoryBroker().board
    Rollup(board).roll(GRAIN, NOW + 10 * 86400)
    start = NOW - SETTLED - 500
    worked(board, 4, start)
    Rollup(board).roll(GRAIN, NOW)
    assert len(board.notes(GRAIN.space)) == 1
    assert counted(board) == {start: 4}
