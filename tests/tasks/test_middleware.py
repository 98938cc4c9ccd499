"""Middlewares: around the making of jobs and the running of tasks of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager

import pytest

from longboat import Job, JobFailed, Longboat, Middleware, Running, State, Unique, chain, group
from longboat.tasks.outgoing import Outgoing
from tests.apps import middleware_app as it


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


class Told(Middleware):
    """Keeps what is said of calls that enqueue."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, bool, int]] = []
        self.inside = ""
        self.refuses = 0

    def before_enqueue(self, job: Job) -> None:
        assert self.inside == "inside"
        self.refuses -= 1
        if not self.refuses:
            raise PermissionError(job.task)

    @contextmanager
    def _keep(self, outgoing: Outgoing) -> Iterator[None]:
        self.inside = "inside"
        try:
            yield
        finally:
            self.inside = ""
            self.heard.append((outgoing.queue, outgoing.task, outgoing.batch, outgoing.count))

    def around_enqueue(self, outgoing: Outgoing) -> AbstractContextManager[None]:
        return self._keep(outgoing)


@pytest.fixture
def told() -> Iterator[tuple[Longboat, Told]]:
    with Longboat("memory://") as app:
        middleware = Told()
        app.add_middleware(Tenantless())
        app.add_middleware(middleware)
        app.task(name="a", queue="one")(it.plain.fn)
        app.task(name="b", queue="two")(it.plain.fn)
        yield app, middleware


class Tenantless(Middleware):
    """Wants nothing."""


def test_each_call_that_enqueues_runs_within_what_it_gives(told: tuple[Longboat, Told]) -> None:
    app, middleware = told
    a, b = app.named("a"), app.named("b")
    unique = a.using(unique=Unique())

    async def begin() -> None:
        await a.aenqueue()
        await a.aenqueue_many([()] * 2)
        await unique.aenqueue()
        await group(a.s(), b.s()).aenqueue()

    a.enqueue()
    assert unique.enqueue().id == unique.enqueue().id
    b.enqueue_many([()] * 2500)
    b.enqueue_many([])
    group(a.s(), a.s()).enqueue()
    one = ("one", "a", False, 1)
    calls = [one, one, one, ("two", "b", True, 2500), ("one", "a", True, 2)]
    assert middleware.heard == calls
    asyncio.run(begin())
    assert middleware.heard[len(calls) :] == [one, ("one", "a", True, 2), one, ("", "", True, 2)]
    assert app.broker.inspector.counts() == {("one", State.READY): 8, ("two", State.READY): 2501}


def test_what_it_gives_sees_a_refusal_and_how_many_were_made(told: tuple[Longboat, Told]) -> None:
    app, middleware = told
    middleware.refuses = 1500
    with pytest.raises(PermissionError):
        app.named("b").enqueue_many([()] * 2500)
    assert middleware.heard == [("two", "b", True, 1000)]
    assert middleware.inside == ""


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

        with app.worker(), pytest.raises(JobFailed, match="asynchronous context manager cannot wrap"):
            sync.enqueue().result(10)


def test_without_any_a_task_runs_its_bare_function() -> None:
    with Longboat("memory://") as app:

        def fn() -> None: ...

        task = app.task(fn)
        assert task.body is fn
        job = Job(1, "id", "t", b"")
        assert job.headers == {}
