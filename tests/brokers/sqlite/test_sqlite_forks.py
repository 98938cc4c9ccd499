"""A process forks while its threads are within SQLite: its children can use the file as well."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker
from longboat.brokers.sqlite.forks import VISITS
from longboat.testing.conformance.stage import job

FORKS = 60

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
"""Python 3.12 warns of what is tried here: users do it, and their servers do."""


@pytest.mark.slow
def test_children_of_a_busy_process_can_use_the_file(tmp_path: Path) -> None:
    path, over = str(tmp_path / "jobs.db"), threading.Event()

    def open_and_look() -> None:
        while not over.is_set():
            with closing(SqliteBroker(path, synchronous="normal", timeout=10.0)) as mine:
                mine.inspector.counts()

    with closing(SqliteBroker(path, synchronous="normal", timeout=10.0)) as broker:
        broker.put([job()])
        threads = [threading.Thread(target=open_and_look) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            ended = [_ended_well(broker) for _ in range(FORKS)]
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert ended == [True] * FORKS
        assert sum(broker.inspector.counts().values()) == FORKS + 1


def _ended_well(broker: SqliteBroker) -> bool:
    """Whether a child could put a job; one that could not within seconds is killed."""
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            broker.put([job()])
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_who_forks_within_sqlite_is_not_held_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.brokers.sqlite.forks.PATIENCE", 0.1)
    begun = time.monotonic()
    with VISITS:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
    os.waitpid(pid, 0)
    assert time.monotonic() - begun < 60
    with VISITS:
        pass
