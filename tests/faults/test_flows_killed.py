"""Flows, limits, schedules and scaling while real workers are killed: order holds, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from typing import Any

import psutil
import pytest

from longboat import Longboat, State, group
from tests.rigs.fault import Tree, Yard, until

pytestmark = pytest.mark.slow


def task(app: Longboat, name: str) -> Any:
    """The task with its code, as a producer has it."""
    os.environ.setdefault("FAULT_LOG", os.devnull)
    sys.modules.pop("tests.apps.time_app", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGBOAT_URL", "memory://")
        import tests.apps.time_app as time_app

    found = time_app.app.registry.get(f"tests.apps.time_app.{name}")
    assert found is not None
    found._sender = app.named("x")._sender  # the same tasks, through this app's broker
    return found


def start(yard: Yard, *arguments: str) -> Tree:
    return yard.start(*arguments, app="tests.apps.time_app:app")


def kill_workers_until(trees: list[Tree], over: threading.Event, every: float) -> None:
    chance = random.Random(7)
    while not over.wait(every):
        workers = [pid for tree in trees for pid in tree.workers()]
        if workers:
            try:
                os.kill(chance.choice(workers), signal.SIGKILL)
            except ProcessLookupError:
                continue


def test_a_flow_survives_kills_at_every_step(yard: Yard) -> None:
    step, total = task(yard.app, "step"), task(yard.app, "total")
    chain = step.s(0)
    for _ in range(29):
        chain = chain.then(step)
    flow = group(chain, *[step.s(n).then(step) for n in range(40)]).then(total).enqueue()
    trees = [start(yard, "-n", "2", "-c", "4") for _ in range(2)]
    over = threading.Event()
    killer = threading.Thread(target=kill_workers_until, args=(trees, over, 0.7))
    killer.start()
    try:
        assert flow.result(60) == 30 + sum(n + 2 for n in range(40))
    finally:
        over.set()
        killer.join()
    status = flow.status()
    assert status.jobs == Counter({State.SUCCEEDED: 30 + 80 + 1})
    lines = [line.split() for line in yard.log.read_text().splitlines()]
    first_total = min(float(line[4]) for line in lines if line[0] == "total")
    first_ends = {line[1]: float(line[4]) for line in reversed(lines) if line[0] == "end"}
    assert len(first_ends) == 110
    assert max(first_ends.values()) <= first_total, "the last job ran before its parents had ended"
    assert [tree.stop() for tree in trees] == [0, 0]


def test_a_limit_holds_while_workers_are_killed(yard: Yard) -> None:
    narrow = task(yard.app, "narrow")
    jobs = narrow.enqueue_many([(key,) for key in "ab" * 30])
    trees = [start(yard, "-n", "2", "--lease", "2s") for _ in range(2)]
    over = threading.Event()
    killer = threading.Thread(target=kill_workers_until, args=(trees, over, 1.0))
    killer.start()
    try:
        for job in jobs:
            job.result(60)
    finally:
        over.set()
        killer.join()
    running: Counter[str] = Counter()
    alive: dict[tuple[str, str], str] = {}
    most: Counter[str] = Counter()
    for line in yard.log.read_text().splitlines():
        event, job_id, pid, _, _ = line.split()
        kind, _, key = event.partition("-")
        if kind == "in":
            # Attempts whose worker was killed never say that they are out: they count no more once the job runs again.
            alive = {place: its for place, its in alive.items() if place[0] != job_id and psutil.pid_exists(int(place[1]))}
            alive[job_id, pid] = key
            running = Counter(alive.values())
            most[key] = max(most[key], running[key])
        else:
            alive.pop((job_id, pid), None)
    assert most == Counter(a=2, b=2)
    assert [tree.stop() for tree in trees] == [0, 0]


def test_each_tick_fires_once_by_three_schedulers_that_are_killed(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT_TICKS", "1")
    trees = [start(yard) for _ in range(3)]
    for tree in trees:
        tree.up()
    over = threading.Event()
    killer = threading.Thread(target=kill_workers_until, args=(trees, over, 1.3))
    killer.start()
    began = time.time()
    over.wait(9)
    over.set()
    killer.join()
    ended = time.time()
    time.sleep(1.5)
    fired = ticks(yard, began + 1, ended - 1)
    assert len(fired) >= 5
    assert fired == list(range(fired[0], fired[-1] + 1)), "each second has one job"
    assert [tree.stop() for tree in trees] == [0] * 3


def ticks(yard: Yard, since: float, until_: float) -> list[int]:
    """The seconds whose tick has a job."""
    found = []
    for state in (State.SUCCEEDED, State.READY, State.RUNNING, State.DEAD):
        for view in yard.app.broker.inspector.jobs(state, limit=1000).jobs:
            name, _, stamp = view.id.partition("@")
            assert name == "tests.apps.time_app.tick"
            second = int(time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))) - time.timezone
            if since < second < until_:
                found.append(second)
    return sorted(found)


def test_workers_follow_the_load_and_cut_off_no_job(yard: Yard) -> None:
    hold = task(yard.app, "hold")
    jobs = hold.enqueue_many([(1.0,)] * 130)
    tree = start(yard, "--scale", "1-3", "-c", "4")
    until(lambda: len(tree.workers()) == 3, 30, tree.said)
    last = hold.enqueue_many([(25.0,)] * 2)
    for job in jobs:
        job.result(60)
    until(lambda: len(tree.workers()) < 3 or "3 -> 2" in tree.said(), 40, tree.said)
    for job in last:
        job.result(60)
    assert all(job.view().attempts == 1 for job in [*jobs, *last])
    runs = Counter(line.split()[1] for line in yard.log.read_text().splitlines() if line.startswith("start"))
    assert set(runs.values()) == {1}
    assert tree.stop(30) == 0
