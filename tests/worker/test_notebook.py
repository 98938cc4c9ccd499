"""What running jobs say: kept over an outage, whatever bytes it has."""

from __future__ import annotations

import time
from typing import Any

import pytest

from longboat import Longboat, current
from longboat.brokers.memory import MemoryBroker
from longboat.errors import BrokerUnavailable
from longboat.tasks.handle import LOGS, PROGRESS, LogLine, Progress
from longboat.worker.notebook import BACKLOG, Notebook


class Failing:
    """A board that is down, or that takes so many writes more."""

    def __init__(self) -> None:
        self.board = MemoryBroker().board
        self.left = 0

    def write(self, space: str, notes: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise BrokerUnavailable("down")
        self.board.write(space, notes)


def test_what_was_said_while_the_broker_was_down_is_written_once_it_answers() -> None:
    board: Any = Failing()
    notebook = Notebook(board)
    notebook.progress("a", Progress(1))
    notebook.progress("b", Progress(1))
    for job_id in ("a", "b", "a"):
        notebook.log(job_id, LogLine(time.time(), "INFO", f"first of {job_id}", 1))
    board.left = 2
    with pytest.raises(BrokerUnavailable):
        notebook.tend(time.time())
    notebook.progress("a", Progress(2))
    notebook.log("b", LogLine(time.time(), "INFO", "second of b", 1))
    board.left = 100
    notebook.tend(time.time())
    assert len(board.board.notes(LOGS + "a")) == 2
    assert len(board.board.notes(LOGS + "b")) == 2


def test_lines_at_one_moment_stand_apart_and_a_second_writing_overwrites_the_first() -> None:
    board = MemoryBroker().board
    notebook = Notebook(board)
    for _ in range(3):
        notebook.log("a", LogLine(7.0, "INFO", "x", 1))
        notebook.tend(0.0)
    assert len(board.notes(LOGS + "a")) == 3


def test_what_waits_is_bounded() -> None:
    board: Any = Failing()
    notebook = Notebook(board)
    for place in range(BACKLOG + 100):
        notebook.log(f"{place % 100}", LogLine(1.0, "INFO", "x", place // 1000))
    with pytest.raises(BrokerUnavailable):
        notebook.tend(0.0)
    assert sum(map(len, notebook._lines.values())) <= BACKLOG
    board.left = 1000
    notebook.tend(0.0)
    notebook.log("more", LogLine(1.0, "INFO", "x", 1))
    notebook.tend(0.0)
    assert board.board.notes(LOGS + "more"), "there is room again"


def test_what_is_kept_is_bounded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.worker.notebook.MOST_LINES", 10)
    monkeypatch.setattr("longboat.worker.notebook.MOST_PROGRESS", 3)
    board = MemoryBroker().board
    notebook = Notebook(board)
    for place in range(8):
        notebook.progress("first", Progress(place))
        notebook.progress(f"job{place}", Progress(1))
        for _ in range(4):
            notebook.log(f"job{place}", LogLine(float(place), "INFO", "x", 1))
        notebook.tend(0.0)
    assert [key for key, _ in board.notes(PROGRESS)] == ["first", "job6", "job7"]
    assert [len(board.notes(f"{LOGS}job{place}")) for place in range(8)] == [0, 0, 0, 0, 0, 2, 4, 4]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_text_that_utf_8_cannot_carry_harms_nobody(executor: Any) -> None:
    with Longboat("memory://") as app:
        reading = app.task(executor=executor)(read_badly_named)
        with app.worker(processes=1):
            job = reading.enqueue()
            assert job.result(20) == "done"
        progress = job.progress()
        assert progress is not None
        assert progress.text == r"at \udce9.txt"
        assert [line.text for line in job.logs()] == [r"reading \udce9.txt"]


def read_badly_named() -> str:
    name = b"\xe9.txt".decode(errors="surrogateescape")
    current().progress(1, 2, f"at {name}")
    current().log(f"reading {name}")
    return "done"
