"""A coroutine task that never awaits: it times out, harms no other job, and its worker heeds TERM and is replaced."""

from __future__ import annotations

import signal
import time

import pytest

from longboat.core.job import State
from longboat.executors.contract import TIMEOUT
from tests.rigs.fault import Yard, until

pytestmark = pytest.mark.slow


def test_it_times_out_and_what_runs_beside_it_runs_elsewhere(yard: Yard) -> None:
    tree = yard.start("--concurrency=4")
    [first] = tree.up()
    yard.enqueue_many("nap", 3, 3.0)
    yard.until_started(3)
    culprit = yard.enqueue("block", 300.0)
    until(lambda: f"the event loop is blocked by job {culprit.id} of task tests.apps.fault_app.block" in tree.said(), 10)
    assert "in block\n      time.sleep(seconds)" in tree.said(), "the log says where"
    later = yard.enqueue_many("nap", 10, 0.0)
    yard.until_over(30)
    [failure] = culprit.view().failures
    assert (failure.type, culprit.status()) == (TIMEOUT, State.DEAD)
    assert "blocked the event loop for too long" in failure.message
    assert "time.sleep(seconds)" in failure.traceback
    assert first not in {run.pid for job_id in later for run in yard.check.runs()[job_id]}, "it took jobs that cannot run"
    views = yard.check.views(yard.check.acknowledged)
    assert [view.id for view in views.values() if view.failures] == [culprit.id]
    assert first not in tree.workers()
    assert tree.stop(5) == 0
    yard.check.sound(dead={culprit.id}, handed_back=yard.check.acknowledged)


def test_term_is_heeded(yard: Yard) -> None:
    tree = yard.start("--grace=1s")
    tree.up()
    job = yard.task("block").using(timeout=60.0).enqueue(300.0)  # its own limit, of 1 s, would race with the grace
    yard.check.acknowledged.append(job.id)
    yard.until_started(1)
    tree.signal(signal.SIGTERM)
    assert tree.wait(20) == 0
    view = job.view()
    assert (view.state, view.attempts, view.failures) == (State.READY, 0, [])


def test_term_is_heeded_while_the_pool_of_asyncio_is_full(yard: Yard) -> None:
    tree = yard.start("--grace=2s")
    tree.up()
    yard.enqueue("fill_the_pool", 60.0)
    yard.until_over(10)
    job = yard.enqueue("nap", 30.0)
    yard.until_started(2)
    tree.signal(signal.SIGTERM)
    began = time.monotonic()
    assert tree.wait(10) == 0
    assert time.monotonic() - began < 5.0
    assert (job.view().state, job.view().attempts) == (State.READY, 0)
