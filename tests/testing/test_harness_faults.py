"""Workers that die in the middle of a job, jobs that are delivered twice, and tasks that bear both or do not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from longboat import ConfigError, Longboat, current
from longboat.testing import Harness

app = Longboat("memory://")
sent: list[str] = []
rows: dict[str, int] = {}
told: list[str] = []


def mail(to: str) -> None:
    sent.append(to)


def insert(name: str) -> None:
    if name in rows:
        raise KeyError(f"there is a row {name}")
    rows[name] = 1


@app.task
def signs_up(name: str) -> None:
    mail(name)
    insert(name)


@app.task
def signs_up_once(name: str) -> None:
    job = current()
    if name not in rows:
        rows[name] = 0
    job.step("mail", _mail_once, name)
    rows[name] = 1


def _mail_once(name: str) -> None:
    if name not in sent:  # as a provider does by an idempotency key
        sent.append(name)


@app.task
async def adds(name: str) -> None:
    await asyncio.sleep(0)
    rows[name] = rows.get(name, 0) + 1
    await asyncio.sleep(0)


@app.task
def hides_it(name: str) -> None:
    with contextlib.suppress(BaseException):
        mail(name)
    rows[name] = 1


@app.task
def in_a_loop(names: list[str]) -> None:
    for name in names:
        if name not in rows:
            mail(name)
            rows[name] = 1


@app.task
def starts_others(name: str) -> None:
    adds.enqueue(name)


@app.task
def random_one() -> None:
    rows["random"] = len(told)
    told.append("again")


def reset() -> None:
    sent.clear()
    rows.clear()


def effects() -> object:
    return sent, rows


@pytest.fixture
def jobs() -> Iterator[Harness]:
    reset()
    with Harness(app) as harness:
        yield harness


def test_a_job_comes_back_once_the_lease_of_its_killed_worker_is_over(jobs: Harness) -> None:
    jobs.kill(signs_up_once, after="rows[name] = 0")
    handle = signs_up_once.enqueue("a")
    other = adds.enqueue("b")
    assert [each.state for each in jobs.perform_jobs()] == ["killed", "succeeded"]
    assert (sent, rows) == ([], {"a": 0, "b": 1})
    jobs.clock.move("14s")
    assert jobs.perform_jobs() == []
    jobs.clock.move("1s")
    (again,) = jobs.perform_jobs()
    assert (again.state, again.attempt, sent) == ("succeeded", 2, ["a"])
    view = handle.view()
    assert (view.attempts, [failure.type for failure in view.failures]) == (2, ["longboat.WorkerDied"])
    assert other.view().attempts == 1


def test_a_coroutine_is_killed_on_the_loop_of_the_test(jobs: Harness) -> None:
    async def test() -> None:
        jobs.kill(adds, after="rows.get(name, 0) + 1")
        handle = await adds.aenqueue("a")
        assert [each.state for each in await jobs.aperform_jobs()] == ["killed"]
        assert rows == {"a": 1}
        jobs.clock.move("15s")
        assert [each.state for each in await jobs.aperform_jobs()] == ["succeeded"]
        await handle

    asyncio.run(test())
    assert rows == {"a": 2}


def test_a_duplicate_runs_twice(jobs: Harness) -> None:
    jobs.duplicate(adds)
    adds.enqueue("a")
    assert [each.state for each in jobs.perform_jobs()] == ["lost", "succeeded"]
    assert rows == {"a": 2}


def test_a_kill_that_strikes_nowhere_is_told(jobs: Harness) -> None:
    jobs.kill(adds, after="no such line")
    adds.enqueue("a")
    with pytest.raises(AssertionError, match="adds ran to its end, and no line of it has 'no such line'"):
        jobs.perform_jobs()


def test_a_real_worker_cannot_be_killed(jobs: Harness) -> None:
    with jobs.worker():
        for fault in (jobs.kill, jobs.duplicate):
            with pytest.raises(ConfigError, match="perform_jobs"):
                fault(adds)
    jobs.kill(adds)
    with pytest.raises(ConfigError, match="perform_jobs"), jobs.worker():
        pass


def test_a_job_that_kills_its_workers_is_dead_at_last(jobs: Harness) -> None:
    handle = adds.enqueue("a")
    for _ in range(3):
        jobs.kill(adds)
        jobs.perform_jobs()
        jobs.clock.move("15s")
    assert [each.state for each in jobs.perform_jobs(raises=False)] == ["dead"]
    assert "died" in handle.view().failures[-1].message


def test_a_task_that_mails_and_then_inserts_is_not_idempotent(jobs: Harness) -> None:
    with pytest.raises(AssertionError) as caught:
        jobs.assert_idempotent(signs_up, "a", effects=effects, reset=reset)
    text = str(caught.value)
    assert "Undisturbed: (['a'], {'a': 1})" in text
    assert "test_harness_faults.py:" in text
    assert "mail(name)\n      (['a', 'a'], {'a': 1})" in text  # after this line a second run sends another mail
    assert "insert(name)\n      the second run failed: KeyError: 'there is a row a'" in text
    assert "its last line, before its end was known" in text


def test_a_task_that_is_idempotent_passes_wherever_it_dies(jobs: Harness) -> None:
    jobs.assert_idempotent(signs_up_once, "a", effects=effects, reset=reset)
    jobs.assert_idempotent(signs_up_once.s("a"), effects=effects, reset=reset)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (adds.s("a"), "rows[name] = rows.get(name, 0) + 1"),
        (hides_it.s("a"), "mail(name)"),
        (in_a_loop.s(["a", "b"]), "mail(name) (the second time)"),
        (starts_others.s("a"), "adds.enqueue(name)"),
    ],
    ids=["a coroutine", "one that catches everything", "the second round of a loop", "jobs enqueued twice"],
)
def test_the_line_after_which_a_second_run_differs_is_named(jobs: Harness, call: object, line: str) -> None:
    with pytest.raises(AssertionError) as caught:
        jobs.assert_idempotent(call, effects=effects, reset=reset)  # type: ignore[arg-type]  # of any task
    assert line in str(caught.value)


def test_effects_that_differ_anyway_are_told(jobs: Harness) -> None:
    with pytest.raises(AssertionError, match="two undisturbed runs differ"):
        jobs.assert_idempotent(random_one, effects=effects, reset=reset)


def test_an_undisturbed_run_that_fails_raises_its_error(jobs: Harness) -> None:
    with pytest.raises(KeyError, match="there is a row"):
        jobs.assert_idempotent(signs_up, "a", effects=effects, reset=lambda: rows.update(a=1))
