"""Tasks that bring their process down: they die of it with the reason, and their neighbours come to no harm."""

from __future__ import annotations

import os
import signal
import time

import pytest

from longboat.core.reasons import WORKER_DIED
from longboat.executors.contract import TIMEOUT
from tests.rigs.fault import Yard, until

pytestmark = pytest.mark.slow

NEIGHBOURS = 200
FAILED_BY = {
    "kill": ("longboat.Killed", "signal 9"),
    "segfault": ("longboat.Killed", "signal 11"),
    "exit": ("longboat.Killed", "status 3"),
    "exit well": ("longboat.Killed", "status 0"),
    "regex": ("longboat.Timeout", ""),
    "loop": ("longboat.Timeout", ""),
    "recursion": ("RecursionError", "recursion"),
}
ATTEMPTS = {"kill": 3, "segfault": 3, "exit": 3, "exit well": 3, "regex": 1, "loop": 1, "recursion": 1}


def among_neighbours(yard: Yard, pill: str, how: str, neighbours: str) -> str:
    """The pill's id, put in the midst of the neighbours."""
    yard.enqueue_many(neighbours, NEIGHBOURS // 2, 0.01)
    poison = yard.enqueue(pill, how).id
    yard.enqueue_many(neighbours, NEIGHBOURS // 2, 0.01)
    return poison


@pytest.mark.parametrize("how", FAILED_BY)
def test_in_a_child_process(how: str, yard: Yard) -> None:
    poison = among_neighbours(yard, "die_in_process", how, "nap_in_process")
    tree = yard.start("--processes=2")
    [worker] = tree.up()
    yard.until_over(40)
    assert tree.workers() == [worker], "the worker process was replaced"
    assert tree.stop() == 0
    view = yard.check.views([poison])[poison]
    kind, text = FAILED_BY[how]
    assert view.attempts == len(view.failures) == ATTEMPTS[how]
    assert all(failure.type == kind and text in failure.message for failure in view.failures), view.failures
    yard.check.sound(dead={poison})


def test_a_dead_child_is_replaced_within_a_second(yard: Yard) -> None:
    tree = yard.start("--processes=1")
    tree.up()
    yard.enqueue("die_in_process", "kill")
    yard.enqueue_many("nap_in_process", 20, 0.01)
    yard.until_ended(20, 20)
    runs = [run for each in yard.check.runs().values() for run in each]
    [died, *_] = sorted(run.started for run in runs if run.ended is None)
    assert min(run.started for run in runs if run.started > died) - died < 1.0
    assert tree.stop() == 0


@pytest.mark.parametrize(
    ("how", "pill"),
    [*((how, pill) for how in ("kill", "segfault", "exit") for pill in ("die", "die_in_thread")), ("exit well", "die")],
)
def test_in_the_worker_process(how: str, pill: str, yard: Yard) -> None:
    neighbours = "nap" if pill == "die" else "nap_in_thread"
    poison = among_neighbours(yard, pill, how, neighbours)
    tree = yard.start()
    yard.until_over(40)
    assert tree.stop() == 0, "the supervisor died"
    view = yard.check.views([poison])[poison]
    deaths, verdict = view.failures[:-1], view.failures[-1]
    assert view.attempts == len(deaths) == 3
    assert all(failure.type == WORKER_DIED and FAILED_BY[how][1] in failure.message for failure in deaths), deaths
    assert "again and again" in verdict.message
    runs = yard.check.runs()
    yard.check.killed = {run.pid for run in runs[poison]}
    assert len(yard.check.killed) == len(runs[poison]) <= 4, (
        "a pill kills its worker once for each attempt, and once unnoted"
    )
    yard.check.sound(dead={poison})


@pytest.mark.parametrize("after", [0.0, 0.3], ids=["before its start is known", "after that"])
def test_a_thread_that_holds_the_interpreters_lock_beyond_its_time_is_found_out_at_once(after: float, yard: Yard) -> None:
    yard.enqueue_many("nap_in_thread", 2, 0.5)
    tree = yard.start("--lease=1s")
    [worker] = tree.up()
    poison = yard.enqueue("hold_the_lock", after).id
    yard.until_started(3)
    yard.enqueue_many("nap_in_thread", 20, 0.01)
    yard.until_over(30)
    view = yard.check.views([poison])[poison]
    assert view.attempts == 1
    assert view.failures[-1].type == TIMEOUT
    assert "held the interpreter's lock" in view.failures[-1].message
    why = f"it gave no sign of life for 6 s: job {poison} held the interpreter's lock beyond its time limit"
    assert f"worker process {worker} was killed by its supervisor, because {why}; its jobs" in tree.said()
    assert tree.said().count("was killed") == 1
    assert tree.stop() == 0
    yard.check.killed = {worker}
    yard.check.sound(dead={poison})


def test_a_killed_workers_jobs_run_elsewhere_within_a_second(yard: Yard) -> None:
    tree = yard.start("-n", "2", "--concurrency=4")
    tree.up(2)
    ids = yard.enqueue_many("nap", 4, 1.5)
    until(lambda: yard.query("SELECT total(started) FROM longboat_leased") == [(4,)], 10)
    victim = yard.check.runs()[ids[0]][0].pid
    [other] = set(tree.workers()) - {victim}
    hit = {job_id for job_id, runs in yard.check.runs().items() if runs[0].pid == victim}
    yard.check.killed.add(victim)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    yard.until_started(5)
    runs = yard.check.runs()
    assert min(run.started for each in runs.values() for run in each if run.started > killed) - killed < 1.0
    until(lambda: len(tree.workers()) == 2, 5)
    assert other in tree.workers()
    yard.until_over(30)
    assert tree.stop() == 0
    yard.check.sound()
    counted = {job_id for job_id, view in yard.check.views(ids).items() if [f.type for f in view.failures] == [WORKER_DIED]}
    assert counted == hit
