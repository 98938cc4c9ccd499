"""After a deploy: jobs whose arguments do not fit the task any more, or not yet, wait for a worker that they fit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat import JobFailed, Longboat
from longboat.core.job import State
from longboat.observe.events import JobsParked
from longboat.operate.explain import explain
from longboat.worker import misfits
from tests.apps import misfit_tasks
from tests.rigs import harnesses
from tests.rigs.waiting import until
from tests.worker.test_watched import address

Version = Callable[..., Longboat]


SERVED = [pytest.param(name, marks=pytest.mark.slow) for name in ("redis", "postgres", "manager", "rabbitmq+store")]


@pytest.fixture(params=["memory", "sqlite", *SERVED])
def version(request: pytest.FixtureRequest, tmp_path: Path, brisk: None) -> Iterator[Version]:  # noqa: ARG001  # both are brisk
    """Makes apps with other versions of a task on one broker."""
    if why := harnesses.unavailable(request.param):
        pytest.skip(why)
    with contextlib.ExitStack() as stack:
        made: list[Longboat] = []
        url = "memory://"
        if request.param != "memory":
            url = stack.enter_context(address(request.param, tmp_path, lambda: harnesses._rabbitmq_server().url))

        def make(fn: Callable[..., Any], **options: Any) -> Longboat:
            app = stack.enter_context(Longboat(url))
            if made and request.param == "memory":
                app._client = made[0].client
                app._pid = made[0]._pid
            made.append(app)
            app.task(name="t", **options)(fn)
            return app

        yield make


@pytest.mark.parametrize("executor", ["async", "thread", "process"])
def test_what_fits_no_more_waits_for_a_worker_that_it_fits(version: Version, executor: Any) -> None:
    suffix = "_async" if executor == "async" else ""
    before, after = getattr(misfit_tasks, f"before{suffix}"), getattr(misfit_tasks, f"after{suffix}")
    old, new = version(before, executor=executor), version(after, executor=executor)
    said: list[JobsParked] = []
    old_job = old.registry.tasks["t"].enqueue(1, removed=2)
    new_job = new.registry.tasks["t"].enqueue(1, needed=3)
    new.bus.listen(lambda event: said.append(event) if isinstance(event, JobsParked) else None)
    with new.worker(processes=1):
        assert new_job.result(20) == 4
        until(lambda: old_job.status() is State.WAITING)
        assert "version of the task it fits: task 't': " in (explain(new.broker, old_job.id) or "")
        until(lambda: bool(said))
        assert (said[0].jobs, "needed" in said[0].reason or "removed" in said[0].reason) == (1, True)
        with old.worker(processes=1):
            assert old_job.result(20) == 3


def test_a_renamed_parameter_takes_what_was_passed_by_position(version: Version) -> None:
    job = version(misfit_tasks.before).registry.tasks["t"].enqueue(1, 2)
    with version(misfit_tasks.renamed).worker():
        assert job.result(10) == 12


def test_a_parents_result_that_does_not_fit_is_not_waited_with(version: Version) -> None:
    app = version(misfit_tasks.before)
    text: Any = app.task(name="text")(misfit_tasks.text)
    with app.worker(), pytest.raises(JobFailed, match="argument 'a': Expected `int`"):
        text.s().then(app.registry.tasks["t"]).enqueue().result(10)


def test_its_patience_ends_however_often_it_was_tried(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misfits, "PATIENCE", 0.6)
    monkeypatch.setattr(misfits, "AGAIN", 0.1)
    job = version(misfit_tasks.before).registry.tasks["t"].enqueue(1, removed=2)
    began = time.monotonic()
    with version(misfit_tasks.after).worker(), pytest.raises(JobFailed, match="BadArguments"):
        job.result(60)
    assert time.monotonic() - began > 0.5


def test_a_worker_that_stops_hands_them_back(version: Version) -> None:
    old, new = version(misfit_tasks.before), version(misfit_tasks.after)
    job = old.registry.tasks["t"].enqueue(1, removed=2)
    with new.worker() as worker:
        until(lambda: bool(worker._in_flight.misfits or worker._in_flight.returned))
    assert job.status() in (State.READY, State.WAITING)
    with old.worker():
        assert job.result(10) == 3
