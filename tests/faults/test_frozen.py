"""A worker that stood still for longer than its lease: others run its jobs, and what it says of them later is refused."""

from __future__ import annotations

import os
import signal
import time

import pytest

from longboat.core.job import State
from longboat.core.reasons import WORKER_DIED
from tests.rigs.fault import Yard, until

pytestmark = pytest.mark.slow

LEASE = 2.0
SILENCE = 6.0
"""Seconds without a sign of life after which a supervisor kills a worker whose lease is 1 s."""


@pytest.mark.parametrize("kind", ["nap", "nap_in_thread", "nap_in_process"])
def test_what_a_frozen_worker_says_late_is_refused(kind: str, yard: Yard) -> None:
    tree = yard.start(f"--lease={LEASE:g}s")
    [frozen] = tree.up()
    ids = yard.enqueue_many(kind, 2, 1.5)
    until(lambda: yard.query("SELECT total(started) FROM longboat_leased") == [(2,)], 10)
    os.killpg(tree.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    other = yard.start(f"--lease={LEASE:g}s")
    yard.until_started(3, LEASE + 5.0)
    assert time.monotonic() - stopped > LEASE - 1.0, "the last heartbeat was up to a second before"
    os.killpg(tree.pid, signal.SIGCONT)  # its own runs are over at once, while those of the other go on
    until(lambda: "were lost" in tree.said(), 5, tree.said)
    yard.until_over(10)
    assert other.stop() == 0
    after = yard.enqueue_many(kind, 5, 0.01)
    yard.until_over(10)
    assert {runs[-1].pid for job_id, runs in yard.check.runs().items() if job_id in after}.isdisjoint({other.pid})
    assert tree.workers() == [frozen]
    assert tree.stop() == 0
    yard.check.sound()
    for view in yard.check.views(ids).values():
        assert view.attempts == 2
        assert [failure.type for failure in view.failures] == [WORKER_DIED]
    assert yard.app.broker.inspector.counts() == {("default", State.SUCCEEDED): 7}


def test_a_tree_that_stood_still_for_long_goes_on(yard: Yard) -> None:
    tree = yard.start("--lease=1s")
    [worker] = tree.up()
    yard.enqueue_many("nap", 2, 0.5)
    yard.until_started(2)
    os.killpg(tree.pid, signal.SIGSTOP)
    time.sleep(SILENCE + 1.0)  # a paused container; there is no event to wait for
    os.killpg(tree.pid, signal.SIGCONT)
    yard.until_over(10)
    yard.enqueue("nap", 0.01)
    yard.until_over(5)
    assert tree.workers() == [worker], tree.said()
    assert tree.stop() == 0
    yard.check.killed.add(worker)  # for a while it counted as dead: what it ran may have run again
    yard.check.sound()


def test_a_supervisor_that_kills_says_that_it_did_and_why(yard: Yard) -> None:
    tree = yard.start("--lease=1s")
    [worker] = tree.up()
    job = yard.enqueue("nap", 30.0)
    until(lambda: yard.query("SELECT total(started) FROM longboat_leased") == [(1,)], 10)
    os.kill(worker, signal.SIGSTOP)
    why = f"was killed by its supervisor, because it gave no sign of life for {SILENCE:g} s"
    until(lambda: f"worker process {worker} {why}" in tree.said(), 15, tree.said)
    assert "memory" not in tree.said()
    until(lambda: [failure.message for failure in job.view().failures] == [f"its worker process {why}"], 10)
