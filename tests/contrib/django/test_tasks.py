"""The backend of TASKS: what Django's tasks, results and signals promise, with a real worker."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import timezone

from longboat.contrib.django import LongboatBackend, LongboatTask, app, options
from longboat.contrib.django.compat import (
    PACKAGE,
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from longboat.errors import BadArguments, ConfigError, JobFailed
from tests.contrib.django.chores import tasks

default_task_backend: Any = importlib.import_module(PACKAGE).default_task_backend

READY, RUNNING, FAILED, SUCCESSFUL = (
    getattr(TaskResultStatus, name) for name in ("READY", "RUNNING", "FAILED", "SUCCESSFUL")
)
Burst = Callable[[], None]
Heard = list[tuple[str, Any]]


@pytest.fixture(params=["memory", "sqlite"], autouse=True)
def broker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LONGBOAT_URL", "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db")
    app.close()
    yield
    app.close()


@pytest.fixture
def burst() -> Burst:
    """Runs all jobs."""

    def run() -> None:
        with app.worker(burst=True) as worker:
            assert worker.finished.wait(30)

    return run


def drain(*results: Any) -> None:
    """Runs jobs until these have ended."""
    with app.worker():
        for result in results:
            with contextlib.suppress(JobFailed):
                app.job(result.id).result("30s")
    app.bus.flush(10)
    for result in results:
        result.refresh()


@pytest.fixture
def heard() -> Iterator[Heard]:
    """The signals, with the status that each one told."""
    told: Heard = []
    heard: list[tuple[Any, Any]] = []
    for name, signal in ("enqueued", task_enqueued), ("started", task_started), ("finished", task_finished):

        def hear(sender: Any, task_result: Any, name: str = name, **_: Any) -> None:
            assert sender is LongboatBackend
            told.append((name, task_result.status))

        signal.connect(hear, weak=False)
        heard.append((signal, hear))
    yield told
    for signal, hear in heard:
        signal.disconnect(hear)


@pytest.mark.parametrize("task", [tasks.add, tasks.aadd], ids=["thread", "async"])
def test_a_task_runs_and_its_result_tells_all_of_it(task: Any, burst: Burst, heard: Heard) -> None:
    assert isinstance(task, LongboatTask)
    result = task.enqueue(2, b=3)
    assert (result.status, result.args, result.kwargs, result.attempts) == (READY, [2], {"b": 3}, 0)
    assert result == task.get_result(result.id)
    assert len(result.id) < 64
    with pytest.raises(ValueError, match="not finished"):
        assert result.return_value
    burst()
    result.refresh()
    assert (result.status, result.return_value, result.errors) == (SUCCESSFUL, 5, [])
    assert result.is_finished
    assert result.attempts == 1
    assert result.worker_ids[0]
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert heard == [("enqueued", READY), ("started", RUNNING), ("finished", SUCCESSFUL)]
    assert app.job(result.id).logs() == [], "what Django logs of each task is kept with each job"


async def _twin(result: Any) -> Any:
    await result.arefresh()
    return await tasks.aadd.aget_result(result.id)


def test_the_async_twins_do_the_same(burst: Burst, heard: Heard) -> None:
    import asyncio

    result = asyncio.run(tasks.aadd.using(priority=5).aenqueue(1))
    assert asyncio.run(_twin(result)) == result
    burst()
    assert asyncio.run(_twin(result)).return_value == 2
    assert heard == [("enqueued", READY), ("started", RUNNING), ("finished", SUCCESSFUL)]


def test_the_context_tells_of_the_job_as_it_runs(burst: Burst) -> None:
    later = tasks.about.using(priority=-100, queue_name="mail", run_after=timedelta())
    result = later.enqueue("x", "y")
    burst()
    result.refresh()
    assert result.return_value == [1, result.id, "RUNNING", 1, result.worker_ids, 0, ["x", "y"], {}, -100, "mail", True]
    assert (result.task.priority, result.task.queue_name, result.task.func) == (-100, "mail", tasks.about.func)


@pytest.mark.parametrize("task", [tasks.flaky, tasks.aflaky], ids=["thread", "async"])
def test_a_job_that_is_tried_again_is_ready_in_between_and_keeps_each_error(task: Any, heard: Heard) -> None:
    result = task.enqueue(3)
    drain(result)
    assert result.status == SUCCESSFUL
    assert result.attempts == 3
    path = "tests.contrib.django.chores.tasks.Broken"
    assert result.return_value == [3, result.worker_ids, [path, path]]
    assert [error.exception_class for error in result.errors] == [tasks.Broken, tasks.Broken]
    assert "Broken: attempt 1" in result.errors[0].traceback
    assert result.started_at < result.last_attempted_at < result.finished_at
    states = [("enqueued", READY), *3 * [("started", RUNNING)], ("finished", SUCCESSFUL)]
    assert heard == states


def test_a_job_waits_for_its_next_attempt_as_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    result = tasks.flaky.enqueue(2)
    task = app.registry.tasks[tasks.flaky.module_path]
    policy = type(task.settings.policy)(2, 0.0, (3600.0,))
    import msgspec

    monkeypatch.setattr(task, "settings", msgspec.structs.replace(task.settings, policy=policy))
    with app.worker(burst=True):
        while not result.errors:
            result.refresh()
    assert (result.status, result.attempts, result.finished_at) == (READY, 1, None)
    assert result.started_at == result.last_attempted_at


def test_a_job_without_attempts_left_has_failed(heard: Heard) -> None:
    result = tasks.hopeless.enqueue()
    drain(result)
    assert (result.status, result.attempts) == (FAILED, 2 if tasks.on_61 else 1)
    with pytest.raises(ValueError, match="Task failed"):
        assert result.return_value
    assert heard[-1] == ("finished", FAILED)
    assert heard.count(("finished", FAILED)) == 1


@pytest.mark.parametrize("task", [tasks.leave, tasks.aleave], ids=["thread", "async"])
@pytest.mark.parametrize(
    ("how", "error"),
    [("exit", SystemExit), ("interrupt", KeyboardInterrupt), ("object", TypeError), ("large", Exception)],
)
def test_whatever_a_function_does_only_its_job_fails(task: Any, how: str, error: Any, burst: Burst, heard: Heard) -> None:
    result = task.enqueue(how)
    other = task.enqueue("fine")
    burst()
    result.refresh()
    other.refresh()
    assert result.status == FAILED
    assert issubclass(result.errors[0].exception_class, error)
    assert other.return_value == "fine"
    assert heard.count(("finished", FAILED)) == 1


def test_jobs_that_end_elsewhere_than_in_their_function_are_told(burst: Burst, heard: Heard) -> None:
    late = tasks.slow.enqueue()
    cancelled = tasks.add.using(run_after=timedelta(hours=1)).enqueue(1)
    app.job(cancelled.id).cancel()
    burst()
    app.bus.flush(10)
    late.refresh()
    cancelled.refresh()
    assert (late.status, late.errors[0].exception_class) == (FAILED, TimeoutError)
    assert cancelled.status == FAILED
    assert cancelled.errors[-1].exception_class_path == "longboat.errors.JobCancelled"
    assert heard.count(("finished", FAILED)) == 1


def test_a_function_that_ends_when_it_is_asked_to_has_succeeded(burst: Burst, heard: Heard) -> None:
    result = tasks.slow_thread.enqueue()
    burst()
    result.refresh()
    assert (result.status, result.return_value) == (SUCCESSFUL, "in time")
    assert heard[-1] == ("finished", SUCCESSFUL)


def test_jobs_run_by_priority() -> None:
    order: list[int] = []

    def started(task_result: Any, **_: Any) -> None:
        order.append(task_result.task.priority)

    task_started.connect(started)
    for priority in (0, -100, 100, 7):
        tasks.add.using(priority=priority).enqueue(1)
    with app.worker(burst=True, threads=1) as worker:
        assert worker.finished.wait(30)
    task_started.disconnect(started)
    assert order == [100, 7, 0, -100]


def test_a_unique_task_has_one_job(heard: Heard) -> None:
    first, second = tasks.once.enqueue("a"), tasks.once.enqueue("a")
    assert (first.id, first.enqueued_at) == (second.id, second.enqueued_at)
    assert heard == [("enqueued", READY)]


def test_run_after_is_a_moment_or_a_time_from_now() -> None:
    moment = timezone.now() + timedelta(hours=1)
    result = tasks.add.using(run_after=moment).enqueue(1)
    assert result.status == READY
    assert tasks.add.get_result(result.id) == result
    assert result.task.run_after == moment
    task = tasks.add.using(run_after=timedelta(hours=2))
    result = task.enqueue(1)
    due = app.job(result.id).view().due
    assert due is not None
    assert abs(due - result.task.run_after.timestamp()) < 5
    assert tasks.add.get_result(result.id).task.run_after == result.task.run_after > moment
    with pytest.raises(InvalidTask, match="in the past"):
        tasks.add.using(run_after=timedelta(-1))
    with override_settings(USE_TZ=False):
        result = tasks.add.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1)
        assert result == tasks.add.get_result(result.id)
        assert (result.task.run_after - result.enqueued_at) < timedelta(hours=1, seconds=5)


def test_what_cannot_be_enqueued_is_refused_where_it_is_enqueued() -> None:
    from tests.contrib.django.shop.models import Order

    with pytest.raises(TypeError, match=r"Unsupported type.*Pass the primary key of the Order.*add.enqueue\(order.pk\)"):
        tasks.add.enqueue(Order(buyer="Ann"))
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.add.enqueue(timezone.now())
    with pytest.raises(BadArguments, match="missing a required argument"):
        tasks.add.enqueue()


def test_results_that_there_are_not(burst: Burst) -> None:
    for unknown in ("123", "x" * 300):
        with pytest.raises(TaskResultDoesNotExist):
            default_task_backend.get_result(unknown)
    result = tasks.forgotten.enqueue()
    burst()
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()
    other = tasks.add.using(backend="careless").enqueue(1)
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result(other.id)
    assert other.task.get_result(other.id) == other


def test_a_task_keeps_the_options_of_its_own_backend() -> None:
    tasks.add.enqueue(1)
    first = app.registry.tasks[tasks.add.module_path]
    tasks.add.using(backend="careless").enqueue(1)
    assert app.registry.tasks[tasks.add.module_path] is first
    assert first.settings.policy.retries == 0


def test_a_receiver_that_raises_harms_nothing(burst: Burst) -> None:
    def broken(**_: Any) -> None:
        raise tasks.Broken("a receiver")

    signals = (task_enqueued, task_started, task_finished)
    for signal in signals:
        signal.connect(broken)
    result = tasks.add.enqueue(1)
    burst()
    for signal in signals:
        signal.disconnect(broken)
    result.refresh()
    assert result.return_value == 2


def test_options_that_make_no_sense_are_refused_where_they_are_written() -> None:
    with pytest.raises(ConfigError, match="unknown option 'retry'"):
        options(retry=3)  # type: ignore[call-arg]  # it is what is tested
    with pytest.raises(ConfigError, match="stands below @task"):
        options(retries=3)(tasks.add)
    with pytest.raises(InvalidTask, match="executor"):
        LongboatTask(
            func=tasks.free,
            priority=0,
            backend="careless",
            queue_name="default",
            run_after=None,
            takes_context=False,
            executor="process",
        )

    wrong = {"default": {"BACKEND": "longboat.contrib.django.LongboatBackend", "OPTIONS": {"retrys": 3}}}
    with override_settings(TASKS=wrong), pytest.raises(ImproperlyConfigured, match=r"TASKS\['default'\]: OPTIONS: unknown"):
        tasks.add.enqueue(1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_comit": True}, "unknown option 'on_comit'"),
        ({"retries": -1}, "retries"),
        ({"on_commit": "no"}, "True or False"),
        ({"retries": 3, "timeout": "30s", "keep_result": "1d", "executor": "process"}, ""),
    ],
)
def test_check_says_what_is_wrong_with_the_settings(options: Any, said: str) -> None:
    found = LongboatBackend("default", {"OPTIONS": options}).check()
    assert [said in each.msg for each in found] == ([True] if said else [])


def test_check_says_what_the_broker_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    app.close()
    monkeypatch.setenv("LONGBOAT_URL", "radis://")
    assert [each.id for each in LongboatBackend("default", {}).check()] == ["longboat.E003"]
    monkeypatch.setenv("LONGBOAT_URL", "memory://")
    with override_settings(INSTALLED_APPS=[]):
        assert [each.id for each in LongboatBackend("default", {}).check()] == ["longboat.E002"]
