"""Many processes on one file, some of which are killed in the middle of what they do."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker
from longboat.contract.broker import Settlement
from longboat.core.job import Done, Failure, Job, Retry, State

_forked = multiprocessing.get_context("fork")


def work(path: Path, until: float) -> None:
    """A worker that mixes its outcomes, so that jobs are everywhere when it is killed."""
    broker = SqliteBroker(path, synchronous="normal", timeout=30)
    consumer = broker.consumer([], lease=1)
    while time.monotonic() < until:
        leases = consumer.receive(7, wait=0.2)
        consumer.extend()
        consumer.settle(
            [
                Settlement(lease, Done(b"x") if random.random() < 0.8 else Retry(0.01, Failure("Error", "again")))
                for lease in leases
            ],
            started=leases,
        )
    consumer.close()
    broker.close()


@pytest.mark.slow
def test_no_job_is_lost_when_workers_are_killed(path: Path, job: Callable[..., Job]) -> None:
    until = time.monotonic() + 60
    broker = SqliteBroker(path, synchronous="normal", timeout=30)
    workers = [_forked.Process(target=work, args=(path, until)) for _ in range(3)]
    for worker in workers:
        worker.start()
    sent: list[str] = []
    for n in range(60):
        sent += broker.put([job() for _ in range(30)], token=("me", n + 1))
        if n % 5 == 4:
            victim = workers.pop(0)
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            workers.append(_forked.Process(target=work, args=(path, until)))
            workers[-1].start()
    while broker.inspector.counts() != {("default", State.SUCCEEDED): len(sent)} and time.monotonic() < until:
        time.sleep(0.05)
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    assert broker.inspector.counts() == {("default", State.SUCCEEDED): len(sent)}
    assert [result.state for result in broker.results.get(sent) if result] == [State.SUCCEEDED] * len(sent)
    broker.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT (SELECT count(*) FROM longboat_jobs), (SELECT count(*) FROM longboat_ended)").fetchone()
        assert rows == (len(sent), len(sent))


def open_and_put(path: Path, job: Job) -> None:
    broker = SqliteBroker(path, synchronous="normal", timeout=30)
    broker.inspector.counts()
    broker.put([job])
    broker.close()


def test_many_processes_may_make_the_file_at_once(path: Path, job: Callable[..., Job]) -> None:
    processes = [_forked.Process(target=open_and_put, args=(path, job())) for _ in range(12)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 12
    broker = SqliteBroker(path)
    assert broker.inspector.counts() == {("default", State.READY): 12}
    broker.close()


def test_a_put_wakes_a_worker_in_another_process(path: Path, job: Callable[..., Job]) -> None:
    broker = SqliteBroker(path, synchronous="normal")
    listener = broker.results.listen()
    worker = _forked.Process(target=work, args=(path, time.monotonic() + 5))
    worker.start()
    while not broker.inspector.consumers():
        time.sleep(0.01)
    took = []
    for _ in range(50):
        sent = job()
        listener.watch([sent.id])
        begun = time.perf_counter()
        broker.put([sent])
        while not listener.wait(1):
            pass
        took.append(time.perf_counter() - begun)
    worker.kill()
    worker.join()
    listener.close()
    broker.close()
    assert sorted(took)[25] < 0.03, "a job's way there and back; looking every half second would take 250 ms"


def test_a_batch_stays_short_beside_a_busy_thread(path: Path, job: Callable[..., Job]) -> None:
    """One step a row would give up the interpreter a thousand times, and hold the lock for seconds."""
    broker = SqliteBroker(path, synchronous="normal")
    consumer = broker.consumer([], lease=30)
    stop = threading.Event()

    def burn() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=burn)
    thread.start()
    begun = time.monotonic()
    broker.put([job() for _ in range(1000)])
    leases = consumer.receive(1000, wait=0)
    assert consumer.settle([Settlement(lease, Done(b"x")) for lease in leases]) == []
    took = time.monotonic() - begun
    stop.set()
    thread.join()
    consumer.close()
    broker.close()
    assert len(leases) == 1000
    assert took < 1.5
