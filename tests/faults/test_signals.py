"""TERM, a second one, HUP, and a supervisor that is killed: what runs is finished or handed back, and all leave."""

from __future__ import annotations

import os
import signal
import time

import pytest

from longboat.core.job import State
from tests.rigs.fault import LEFT_WITHIN, Tree, Yard, until

pytestmark = pytest.mark.slow

KINDS = ["nap", "nap_in_thread", "nap_in_process"]


def timed(tree: Tree, within: float) -> float:
    """How long it takes to leave, with status 0."""
    began = time.monotonic()
    assert tree.wait(within) == 0, tree.said()
    return time.monotonic() - began


def test_a_running_job_is_finished(yard: Yard) -> None:
    tree = yard.start()
    tree.up()
    for kind in KINDS:
        yard.enqueue(kind, 4.0)
    yard.until_started(3)
    tree.signal(signal.SIGTERM)
    until(lambda: "to finish" in tree.said(), 2, tree.said)
    later = yard.enqueue("nap", 0.0)
    assert timed(tree, 10) > 2.5
    assert later.status() is State.READY
    assert all(len(runs) == 1 and runs[0].ended for runs in yard.check.runs().values())
    assert len(yard.check.runs()) == 3
    yard.start("--burst").wait(15)
    yard.check.sound()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_counts_once(number: signal.Signals, yard: Yard) -> None:
    tree = yard.start("-n", "2")
    tree.up(2)
    for kind in KINDS:
        yard.enqueue(kind, 2.0)
    yard.until_started(3)
    os.killpg(tree.pid, number)
    timed(tree, 10)
    yard.check.sound()
    assert all(len(runs) == 1 for runs in yard.check.runs().values())


@pytest.mark.parametrize("kind", KINDS)
def test_what_outlasts_the_grace_is_handed_back_and_counts_no_attempt(kind: str, yard: Yard) -> None:
    tree = yard.start("--grace=1s")
    tree.up()
    job = yard.enqueue(kind, 5.0)
    yard.until_started(1)
    other = yard.start()
    other.up()
    tree.signal(signal.SIGTERM)
    left = timed(tree, 5)
    yard.until_started(2, 1.0)
    assert left < 3.0
    [first, second] = yard.check.runs()[job.id]
    assert first.pid != second.pid
    assert first.attempt == second.attempt == 1
    yard.until_over(10)
    assert other.stop() == 0
    yard.check.sound(handed_back={job.id})
    assert job.view().failures == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_signal_hands_back_at_once(kind: str, yard: Yard) -> None:
    tree = yard.start()
    tree.up()
    ids = yard.enqueue_many(kind, 2, 30.0)
    yard.until_started(2)
    tree.signal(signal.SIGTERM)
    until(lambda: "to finish" in tree.said(), 5, tree.said)
    tree.signal(signal.SIGTERM)
    assert timed(tree, 8) < 2.5
    views = yard.check.views(ids).values()
    assert [(view.state, view.attempts, view.failures) for view in views] == [(State.READY, 0, [])] * 2


def test_idle_workers_leave_promptly(yard: Yard) -> None:
    tree = yard.start("-n", "2")
    tree.up(2)
    yard.enqueue_many("nap_in_process", 4, 0.0)
    yard.until_over(10)
    tree.signal(signal.SIGTERM)
    assert timed(tree, 10) < 1.5


@pytest.mark.parametrize("after", [0.05, 0.15, 0.25, 0.35, 0.5])
def test_a_signal_while_it_starts(after: float, yard: Yard) -> None:
    """Before its handlers stand, the signal may kill it outright: nothing is in hand yet."""
    tree = yard.start()
    time.sleep(after)
    tree.signal(signal.SIGTERM)
    began = time.monotonic()
    assert tree.wait(10) in (0, -signal.SIGTERM), tree.said()
    assert time.monotonic() - began < 3.0
    assert "Traceback" not in tree.said()


def test_hup_replaces_the_worker_process_and_loses_nothing(yard: Yard) -> None:
    tree = yard.start()
    [first] = tree.up()
    yard.enqueue_many("nap", 300, 0.1)
    yard.enqueue_many("nap_in_thread", 100, 0.05)
    yard.enqueue_many("nap_in_process", 50, 0.02)
    yard.until_ended(50, 20)
    tree.signal(signal.SIGHUP)
    tree.up(2)
    until(lambda: first not in tree.workers(), 5)
    yard.until_over(30)
    assert tree.stop() == 0
    yard.check.sound()
    assert all(len(runs) == 1 for runs in yard.check.runs().values())


@pytest.mark.parametrize("how", ["terminate", "SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_what_a_task_has_started_can_be_ended(how: str, yard: Yard) -> None:
    yard.start().up()
    ended_by = signal.SIGTERM if how == "terminate" else signal.Signals[how]
    assert yard.enqueue("end_another", how).result(timeout=20) == -ended_by


@pytest.mark.parametrize(("name", "arguments"), [("fork_in_thread", ()), ("fork", (False,)), ("fork", (True,))])
def test_a_task_that_forks_makes_no_second_worker(name: str, arguments: tuple[bool, ...], yard: Yard) -> None:
    tree = yard.start()
    [worker] = tree.up()
    yard.enqueue_many("nap", 20, 0.1)
    yard.enqueue(name, *arguments).result(timeout=20)
    until(lambda: tree.members() == {tree.pid, worker}, 5, tree.said)
    yard.enqueue_many("nap_in_thread", 20, 0.01)
    yard.until_over(20)
    assert tree.stop() == 0
    assert {run.pid for each in yard.check.runs().values() for run in each} == {worker}


def test_workers_of_a_killed_supervisor_leave_by_themselves(yard: Yard) -> None:
    tree = yard.start("-n", "2", "--grace=2s", "--lease=2s")
    tree.up(2)
    ids = [yard.enqueue(kind, 20.0).id for kind in KINDS]
    yard.until_started(3)
    tree.signal(signal.SIGKILL)
    until(lambda: not tree.members(), 2.0 + LEFT_WITHIN, tree.said)
    views = yard.check.views(ids).values()
    assert [(view.state, view.attempts) for view in views] == [(State.READY, 0)] * 3
