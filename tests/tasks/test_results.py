"""Results: what comes back is what the annotation says, or the attempt has failed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from longboat import ConfigError, JobFailed, Longboat, Undecodable


def test_a_result_that_is_not_what_the_annotation_says_fails_its_attempt() -> None:
    with Longboat("memory://") as own, own.worker():

        @own.task(name="none")
        def none() -> int:
            return None  # type: ignore[return-value]  # wrong on purpose

        @own.task(name="coroutine")
        def coroutine() -> Any:
            async def inner() -> int:
                return 1

            return inner()

        for task, said in [(none, "none.*Expected `int`, got `None`"), (coroutine, "make it `async def`")]:
            with pytest.raises(JobFailed, match=said):
                task.enqueue().result(10)


def test_a_result_that_cannot_be_read_names_job_and_task() -> None:
    with Longboat("memory://") as own, own.worker():

        @own.task(name="text")
        def text() -> str:
            return "x"

        job = text.enqueue()
        job.result(10)
        job.kind = int
        with pytest.raises(Undecodable, match=f"job {job.id} of task 'text': .*Expected `int`"):
            job.result()


# --- what is no function that returns one


def plainly(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def within(*args: Any) -> Any:
        return fn(*args)

    return within


async def double(n: int) -> int:
    return 2 * n


def returns_a_coroutine(n: int) -> Coroutine[Any, Any, int]:
    return double(n)


@functools.wraps(double)
def runs_it(n: int) -> int:
    return asyncio.run(double(n))


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (functools.partial(double, 1), "no function with a name"),
        (Longboat, "no function with a name"),
        (plainly(double), "coroutine function within a plain one"),
        (returns_a_coroutine, "make it `async def`"),
    ],
)
def test_what_gives_no_result_is_refused_where_it_is_defined(fn: Callable[..., Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Longboat("memory://").task(fn)


def test_a_wrapper_may_run_the_coroutine_itself() -> None:
    with Longboat("memory://") as app, app.worker():
        assert app.task(executor="thread")(runs_it).enqueue(2).result(10) == 4
