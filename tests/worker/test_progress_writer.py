"""What running jobs say: kept over an outage, whatever bytes it has."""

from __future__ import annotations

import time
from typing import Any

import pytest

from longboat import Longboat, current
from longboat.brokers.memory import MemoryBroker
from longboat.errors import BrokerUnavailable
from longboat.tasks.handle import LOGS, PROGRESS, LogLine, Progress
from longboat.worker.progress_writer import BACKLOG, ProgressWriter


class Failing:
    """A board that is down, or that takes so many writes more."""

    def __init__(self) -> None:
        self.kv = MemoryBroker().kv
        self.left = 0

    def write(self, namespace: str, entries: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise BrokerUnavailable("down")
        self.kv.write(namespace, entries)


def test_what_was_said_while_the_broker_was_down_is_written_once_it_answers() -> None:
    kv: Any = Failing()
    progress_writer = ProgressWriter(kv)
    progress_writer.progress("a", Progress(1))
    progress_writer.progress("b", Progress(1))
    for job_id in ("a", "b", "a"):
        progress_writer.log(job_id, LogLine(time.time(), "INFO", f"first of {job_id}", 1))
    kv.left = 2
    with pytest.raises(BrokerUnavailable):
        progress_writer.run(time.time())
    progress_writer.progress("a", Progress(2))
    progress_writer.log("b", LogLine(time.time(), "INFO", "second of b", 1))
    kv.left = 100
    progress_writer.run(time.time())
    assert len(kv.kv.entries(LOGS + "a")) == 2
    assert len(kv.kv.entries(LOGS + "b")) == 2


def test_lines_at_one_moment_stand_apart_and_a_second_writing_overwrites_the_first() -> None:
    kv = MemoryBroker().kv
    progress_writer = ProgressWriter(kv)
    for _ in range(3):
        progress_writer.log("a", LogLine(7.0, "INFO", "x", 1))
        progress_writer.run(0.0)
    assert len(kv.entries(LOGS + "a")) == 3


def test_what_waits_is_bounded() -> None:
    kv: Any = Failing()
    progress_writer = ProgressWriter(kv)
    for place in range(BACKLOG + 100):
        progress_writer.log(f"{place % 100}", LogLine(1.0, "INFO", "x", place // 1000))
    with pytest.raises(BrokerUnavailable):
        progress_writer.run(0.0)
    assert sum(map(len, progress_writer._lines.values())) <= BACKLOG
    kv.left = 1000
    progress_writer.run(0.0)
    progress_writer.log("more", LogLine(1.0, "INFO", "x", 1))
    progress_writer.run(0.0)
    assert kv.kv.entries(LOGS + "more"), "there is room again"


def test_what_is_kept_is_bounded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.worker.progress_writer.MOST_LINES", 10)
    monkeypatch.setattr("longboat.worker.progress_writer.MOST_PROGRESS", 3)
    kv = MemoryBroker().kv
    progress_writer = ProgressWriter(kv)
    for place in range(8):
        progress_writer.progress("first", Progress(place))
        progress_writer.progress(f"job{place}", Progress(1))
        for _ in range(4):
            progress_writer.log(f"job{place}", LogLine(float(place), "INFO", "x", 1))
        progress_writer.run(0.0)
    assert [key for key, _ in kv.entries(PROGRESS)] == ["first", "job6", "job7"]
    assert [len(kv.entries(f"{LOGS}job{place}")) for place in range(8)] == [0, 0, 0, 0, 0, 2, 4, 4]


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
