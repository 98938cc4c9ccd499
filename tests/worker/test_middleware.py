"""Middlewares: around the making of jobs and the running of tasks of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import middleware_app as it
import pytest

from longboat import Job, JobFailed, Longboat, Running, chain


@pytest.fixture(autouse=True)
def tenant() -> Iterator[None]:
    it.seen.clear()
    token = it.tenant.set("acme")
    yield
    it.tenant.reset(token)
    it.app.close()


def test_what_the_caller_put_into_headers_is_there_where_the_function_runs() -> None:
    with it.app.worker(processes=1):
        jobs = [it.acoroutine.enqueue(), it.plain.enqueue(), it.process.enqueue(), it.app.send("plain")]
        jobs += it.plain.enqueue_many([(), ()])
        assert [job.result(20) for job in jobs] == ["acme"] * 6
        assert it.seen == [("enter", "acoroutine", "acme"), ("leave", "acoroutine", "acme")]
        assert chain(it.plain.s()).enqueue().result(20) == "acme"

        async def ask() -> str:
            return await (await it.plain.aenqueue())

        assert asyncio.run(ask()) == "acme"


def test_it_sees_what_the_function_raises() -> None:
    with it.app.worker(), pytest.raises(JobFailed, match="no"):
        it.fails.enqueue().result(10)
    assert it.seen == [("fails", 1, "no")]


def test_it_may_refuse_a_job() -> None:
    it.tenant.set("banned")
    with pytest.raises(PermissionError):
        it.plain.enqueue()
    with pytest.raises(PermissionError):
        it.plain.enqueue_many([()])
    assert not it.app.broker.inspector.counts()


def test_a_call_here_and_now_passes_none() -> None:
    assert it.plain() == "acme"
    assert it.seen == []


def test_an_asynchronous_layer_cannot_wrap_a_plain_function() -> None:
    class Wrong(it.Awaited):
        def around(self, call: Running) -> AbstractAsyncContextManager[None]:
            return self._log(call)

    with Longboat("memory://") as app:
        app.add_middleware(Wrong())

        @app.task(name="sync")
        def sync() -> None: ...

        with app.worker(), pytest.raises(JobFailed, match="asynchronous layer cannot wrap"):
            sync.enqueue().result(10)


def test_without_any_a_task_runs_its_bare_function() -> None:
    with Longboat("memory://") as app:

        def fn() -> None: ...

        task = app.task(fn)
        assert task.body is fn
        job = Job(1, "id", "t", b"")
        assert job.headers == {}
