"""The lock between writers, and forked children."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker, forks
from longboat.core.job import Job, State
from longboat.errors import BrokerUnavailable


def in_child(work: Callable[[], None]) -> None:
    """Run it in a forked child, and fail if it does."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_gate_that_others_hold_makes_it_unavailable_in_time(path: Path, job: Callable[..., Job]) -> None:
    broker = SqliteBroker(path, timeout=0.3)
    broker.put([job()])
    broker.inspector.counts()
    fd = os.open(f"{path}-lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="other writers"):
        broker.put([job()])
    assert 0.25 < time.monotonic() - begun < 1.5
    assert broker.inspector.counts() == {("default", State.READY): 1}, "looking takes no lock"
    os.close(fd)
    assert len(broker.put([job()])) == 1
    broker.close()


def test_a_thread_of_the_same_process_waits_its_turn(path: Path, job: Callable[..., Job]) -> None:
    broker = SqliteBroker(path, timeout=0.3)
    with broker._store.write():
        raised = []

        def put() -> None:
            with pytest.raises(BrokerUnavailable) as caught:
                broker.put([job()])
            raised.append(caught.value)

        thread = threading.Thread(target=put)
        thread.start()
        thread.join()
    assert len(raised) == 1
    assert len(broker.put([job()])) == 1
    broker.close()


def test_a_writer_that_knows_no_gate_makes_it_unavailable_in_time(path: Path, job: Callable[..., Job]) -> None:
    broker = SqliteBroker(path, timeout=0.3)
    broker.put([job()])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match="locked"):
            broker.put([job()])
        db.execute("ROLLBACK")
    assert len(broker.put([job()])) == 1
    broker.close()


def test_an_error_within_a_transaction_undoes_it_and_leaves_the_gate(broker: SqliteBroker, job: Callable[..., Job]) -> None:
    broker.put([job()])
    with pytest.raises(ZeroDivisionError), broker._store.write() as tx:
        tx.count("default", State.READY, tx.run("DELETE FROM longboat_ready").rowcount // 0)
    assert len(broker.put([job()])) == 1
    assert broker.inspector.counts() == {("default", State.READY): 2}
    assert len(broker.inspector.jobs(State.READY).jobs) == 2


def test_a_child_uses_connections_of_its_own(broker: SqliteBroker, job: Callable[..., Job]) -> None:
    broker.put([job()])
    parents = broker._store._writer, broker._store._readers[:]

    def child() -> None:
        broker.put([job()])
        assert broker._store._writer not in (None, parents[0])
        assert broker.inspector.counts() == {("default", State.READY): 2}
        broker.close()

    in_child(child)
    broker.put([job()])
    assert broker.inspector.counts() == {("default", State.READY): 3}


def test_a_fork_while_a_thread_writes_does_not_share_its_lock(
    broker: SqliteBroker, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "PATIENCE", 0.2)
    broker.put([job()])
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with broker._store.write():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait()
    timer = threading.Timer(0.2, leave.set)

    def child() -> None:
        impatient = SqliteBroker(broker._store.path, timeout=0.05)
        with pytest.raises(BrokerUnavailable):  # the parent's thread holds the lock, and the child has let go of its copy
            impatient.put([job()])

    in_child(child)
    timer.start()
    thread.join()
    assert len(broker.put([job()])) == 1
