"""Jobs that are enqueued within a transaction of Django: after its commit, or never."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import RequestFactory, TestCase, override_settings

from longboat.client.kept import summaries
from longboat.client.outbox_table import TABLE
from longboat.contrib.django import app
from longboat.contrib.django.compat import TaskResultDoesNotExist, TaskResultStatus, task_enqueued
from longboat.core.job import State
from longboat.errors import BrokerUnavailable
from tests.contrib.django.chores import tasks


class Undone(Exception):
    pass


@pytest.fixture(params=["memory", "own", "outbox"], autouse=True)
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Jobs in memory; in the database whose transaction it is; or in memory by way of that database's outbox."""
    monkeypatch.delenv("LONGBOAT_URL", raising=False)
    if request.param != "own":
        monkeypatch.setenv("LONGBOAT_URL", "memory://")
    with override_settings(LONGBOAT={"OUTBOX": "default"} if request.param == "outbox" else {}):
        app.close()
        if app.outbox is not None:
            call_command("migrate", run_syncdb=True, verbosity=0)
            connection.cursor().execute(f"DELETE FROM {TABLE}")
        app.broker.inspector.purge([State.READY])
        yield request.param
        app.close()
    connections.close_all()


elsewhere = pytest.mark.parametrize("broker", ["memory"], indirect=True)
"""Of jobs that are not kept in the database whose transaction it is."""


def stored() -> int:
    waiting = sum(each.jobs for each in summaries(None, app.outbox) if not isinstance(each, str))
    return waiting + sum(app.broker.inspector.counts().values())


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """How many jobs were stored at each task_enqueued."""
    told: list[int] = []

    def hear(**_: Any) -> None:
        told.append(stored())

    task_enqueued.connect(hear)
    yield told
    task_enqueued.disconnect(hear)


def test_a_job_is_stored_by_the_commit(signals: list[int]) -> None:
    with transaction.atomic():
        with transaction.atomic():
            result = tasks.add.enqueue(1)
        assert (stored(), signals) == (0, [])
        assert result.status == TaskResultStatus.READY
        assert tasks.add.get_result(result.id) == result
        result.refresh()
    assert (stored(), signals) == (1, [1])
    assert tasks.add.get_result(result.id) == result


@pytest.mark.parametrize("inner", [False, True])
def test_a_rollback_leaves_no_job(inner: bool, signals: list[int]) -> None:
    def enqueue() -> Any:
        with contextlib.suppress(Undone), transaction.atomic():
            result = tasks.add.enqueue(1)
            raise Undone
        return result

    if inner:
        with transaction.atomic():  # goes on after the savepoint is undone
            result = enqueue()
    else:
        result = enqueue()
    gc.collect()
    assert (stored(), signals) == (0, [])
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


@elsewhere
def test_every_transaction_that_is_open_must_be_committed(tmp_path: Path) -> None:
    other = {**connection.settings_dict, "NAME": tmp_path / "other.sqlite3"}
    connections.settings["other"] = other
    try:
        with transaction.atomic(using="other"):
            with transaction.atomic():
                tasks.add.enqueue(1)
            assert stored() == 0
        assert stored() == 1
        with contextlib.suppress(Undone), transaction.atomic(using="other"):
            with transaction.atomic():
                tasks.add.enqueue(1)
            raise Undone
        assert stored() == 1
    finally:
        connections["other"].close()
        del connections["other"]
        del connections.settings["other"]


def test_coroutines_know_the_transaction_around_them() -> None:
    async def enqueue() -> Any:
        return await tasks.add.aenqueue(1)

    with transaction.atomic():
        result = async_to_sync(enqueue)()
        assert stored() == 0
        assert async_to_sync(tasks.add.aget_result)(result.id) == result
    assert stored() == 1

    def undone() -> None:
        with transaction.atomic():
            async_to_sync(enqueue)()
            raise Undone

    async def view() -> None:
        with pytest.raises(Undone):
            await sync_to_async(undone)()
        await enqueue()

    asyncio.run(view())
    assert stored() == 2


def test_requests_within_a_transaction_enqueue_when_they_have_succeeded() -> None:
    from django.core.handlers.base import BaseHandler

    def view(request: Any) -> None:
        tasks.add.enqueue(1)
        assert stored() == before
        if request.GET:
            raise Undone

    before = 0
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        guarded: Callable[[Any], None] = BaseHandler().make_view_atomic(view)
        guarded(RequestFactory().get("/"))
        before = 1
        assert stored() == 1
        with pytest.raises(Undone):
            guarded(RequestFactory().get("/?fail=1"))
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert stored() == 1


@elsewhere
def test_a_backend_may_be_told_not_to_wait() -> None:
    with contextlib.suppress(Undone), transaction.atomic():
        tasks.add.using(backend="careless").enqueue(1)
        raise Undone
    assert stored() == 1


def test_outside_of_a_transaction_a_job_is_stored_at_once() -> None:
    tasks.add.enqueue(1)
    asyncio.run(tasks.aadd.aenqueue(1))
    assert stored() == 2


@elsewhere
def test_a_broker_that_is_away_at_the_commit_is_told_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Any) -> None:
        raise BrokerUnavailable("away")

    atomic = transaction.atomic()
    atomic.__enter__()
    tasks.add.enqueue(1)
    monkeypatch.setattr(app.client, "send", away)
    with pytest.raises(BrokerUnavailable):
        atomic.__exit__(None, None, None)


@elsewhere
def test_djangos_test_case_can_let_jobs_go() -> None:
    class Case(TestCase):  # type: ignore[misc]  # Django has no types
        def runTest(self) -> None:  # noqa: N802  # unittest's name
            with self.captureOnCommitCallbacks(execute=True) as callbacks:
                tasks.add.enqueue(1)
                assert stored() == 0
            assert len(callbacks) == 1
            assert stored() == 1

    Case.setUpClass()
    try:
        Case().debug()
    finally:
        Case.tearDownClass()
