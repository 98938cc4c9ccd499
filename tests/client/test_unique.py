"""Unique calls: one job, whichever way it is made, and whatever becomes of its callers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import longboat
from longboat import BadArguments, BrokerUnavailable, ConfigError, Job, Longboat, State, Unique, chain, group
from longboat.client.client import Client
from longboat.contract import held


@pytest.fixture
def app() -> Iterator[Longboat]:
    with Longboat("memory://") as made:
        yield made


def report(app: Longboat, rule: Unique | None = None) -> Any:
    @app.task(unique=rule or Unique(by="{user}"), name="report")
    def report(user: str, detail: int = 0) -> int:
        return detail if user else -1

    @app.task(name="double")
    def double(n: int) -> int:
        return 2 * n

    report.double = double  # type: ignore[attr-defined]  # the task may set it
    return report


WAYS: dict[str, Callable[[Any], str]] = {
    "enqueue": lambda task: task.enqueue("ann").id,
    "enqueue_many": lambda task: task.enqueue_many([("ann",), {"user": "ann"}])[1].id,
    "signature": lambda task: task.s("ann").enqueue().jobs()[0].id,
    "flow": lambda task: task.s("ann").then(task.double).enqueue().jobs()[0].id,
    "group": lambda task: group(task.s("ann"), task.s("ann", 1)).enqueue().jobs()[0].id,
    "child": lambda task: task.enqueue_child("nobody", "ann").id,
}


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("second", WAYS)
def test_every_way_to_make_a_job_heeds_the_rule(app: Longboat, first: str, second: str) -> None:
    task = report(app)
    job = WAYS[first](task)
    assert WAYS[second](task) == job
    counts = app.broker.inspector.counts()
    doubles = [first, second].count("flow")
    assert counts.get(("default", State.READY)) == 1
    assert counts.get(("default", State.WAITING), 0) == doubles


def test_a_running_job_s_children_and_flows_heed_it_too(app: Longboat) -> None:
    task = report(app)
    held = task.using(delay="1h").enqueue("ann")

    @app.task(name="parent")
    def parent() -> list[str]:
        here = longboat.current()
        return [here.enqueue(task, "ann").id, task.s("ann").enqueue().jobs()[0].id, task.enqueue("ann").id]

    with app.worker():
        assert parent.enqueue().result(10) == [held.id] * 3


def test_flows_share_the_job_and_its_result(app: Longboat) -> None:
    task = report(app)
    single = task.enqueue("ann", 21)
    flow = chain(task.s("ann", 99), task.double).enqueue()
    both = group(task.s("ann"), task.s("bob", 4).then(task.double)).enqueue()
    assert flow.jobs()[0].id == both.jobs()[0].id == single.id
    with app.worker():
        assert flow.result(10) == 42
        assert both.result(10) == [21, 8]


def test_two_parents_may_be_one_job(app: Longboat) -> None:
    task = report(app)

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    flow = total.s([task.s("ann", 2).value, task.s("bob", 3).value, task.s("ann", 4).value]).enqueue()
    assert len(flow.jobs()) == 3
    with app.worker():
        assert flow.result(10) == 2 + 3 + 2


def test_to_cancel_a_flow_leaves_the_jobs_of_others(app: Longboat) -> None:
    task = report(app)
    single = task.enqueue("ann")
    flow = task.s("ann").then(task.double).enqueue()
    assert flow.cancel() == 1
    assert [handle.status() for handle in flow.jobs()] == [State.READY, State.CANCELLED]
    assert single.status() is State.READY


def test_a_key_that_only_a_parent_knows_is_refused(app: Longboat) -> None:
    task = report(app)
    with pytest.raises(BadArguments, match=r"user comes from other jobs.*unique=None"):
        task.double.s(1).then(task).enqueue()
    with pytest.raises(BadArguments, match="must be known"):
        task.using(unique=Unique()).s("ann", detail=task.double.s(1).value).enqueue()
    fair = app.task(name="fair", fair_by="{user}")(task.fn)
    with pytest.raises(BadArguments, match="fair_by"):
        task.double.s(1).then(fair).enqueue()
    flow = task.double.s(1).then(task.using(unique=None)).enqueue()
    assert len(flow.jobs()) == 2
    assert not app.broker.kv.entries(held.NAMESPACE)


@pytest.mark.parametrize("rule", [Unique(by="{user}"), Unique(by="{user}", until="10m"), Unique(by="{user}", latest=True)])
@pytest.mark.parametrize("way", WAYS)
def test_a_put_that_failed_does_not_swallow_the_next(
    app: Longboat, monkeypatch: pytest.MonkeyPatch, rule: Unique, way: str
) -> None:
    task = report(app, rule)
    with monkeypatch.context() as broken:
        broken.setattr(app.broker, "put", _refuse)
        with pytest.raises(BrokerUnavailable):
            WAYS[way](task)
    began = time.monotonic()
    job = WAYS[way](task)
    assert time.monotonic() - began < 1, "no time-out decides"
    assert app.broker.inspector.find([job])[0] is not None
    if not rule.latest:
        assert task.enqueue("ann").id == job
    with app.worker():
        assert app.job(job).result(10) == 0


def test_a_caller_that_is_late_makes_no_second_job(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has taken the key, and comes to its put when another has made the job."""
    task = report(app, Unique(by="{user}", until="10m"))
    stored, go_on, put = threading.Event(), threading.Event(), app.broker.put

    def slow(jobs: list[Job], **options: Any) -> list[str]:
        if not stored.is_set():
            stored.set()
            assert go_on.wait(10)
        return put(jobs, **options)

    monkeypatch.setattr(app.broker, "put", slow)
    late: list[Any] = []
    caller = threading.Thread(target=lambda: late.append(task.enqueue("ann", 1)))
    caller.start()
    assert stored.wait(10)
    with Longboat("memory://") as other:
        other._client = Client(app.broker)
        other._pid = os.getpid()
        first = report(other, Unique(by="{user}", until="10m")).enqueue("ann", 2)
        go_on.set()
        caller.join(10)
    assert (first.id, first.new, late[0].new) == (late[0].id, True, False)
    assert app.broker.inspector.counts() == {("default", State.READY): 1}


def test_the_last_call_that_fails_leaves_the_one_before(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    task = report(app, Unique(by="{user}", latest=True))
    first = task.using(delay="1h").enqueue("ann", 1)
    with monkeypatch.context() as broken:
        broken.setattr(app.broker, "put", _refuse)
        with pytest.raises(BrokerUnavailable):
            task.enqueue("ann", 2)
    assert first.status() is State.SCHEDULED
    last = task.enqueue("ann", 3)
    assert (first.status(), last.status()) == (State.CANCELLED, State.READY)


def test_a_window_outlasts_the_job_it_made(app: Longboat) -> None:
    task = report(app, Unique(by="{user}", until="10m")).using(keep_result=0)
    first = task.enqueue("ann")
    with app.worker(burst=True) as worker:
        assert worker.finished.wait(10)
    assert app.broker.inspector.find([first.id]) == [None]
    again = task.enqueue("ann")
    assert (again.id, again.new) == (first.id, False)


def test_a_job_that_ended_and_is_forgotten_lends_its_id_to_no_other(app: Longboat) -> None:
    task = report(app).using(keep_result=0)
    first = task.enqueue("ann")
    with app.worker(burst=True) as worker:
        assert worker.finished.wait(10)
    assert task.enqueue("ann").id != first.id


CALLER = """
import os, signal, sys
from longboat import Longboat, Unique
app = Longboat(sys.argv[1])
@app.task(unique=Unique(until="10m"), name="t")
def t(a: int) -> None: ...
app.broker
app.client.broker.__class__.put = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
t.enqueue(1)
"""


@pytest.mark.slow
def test_a_caller_killed_between_the_two_does_not_swallow_the_next(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    killed = subprocess.run([sys.executable, "-c", CALLER, url], check=False)
    assert killed.returncode == -signal.SIGKILL
    with Longboat(url) as app:
        task = app.task(unique=Unique(until="10m"), name="t")(_nothing)
        job = task.enqueue(1)
        assert job.new
        assert job.status() is State.READY
        assert task.enqueue(1).id == job.id


def test_enqueue_many_wants_ids_of_its_own(app: Longboat) -> None:
    with pytest.raises(ConfigError, match="one id"):
        report(app).using(id="x").enqueue_many([("ann",)])


def _nothing(a: int) -> None: ...


def _refuse(*_: Any, **__: Any) -> list[str]:
    raise BrokerUnavailable("no")
