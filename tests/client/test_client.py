"""The client's one door: what a call asks for, in any combination, is done to its jobs."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longboat import Job, JobNotFound, Longboat, Middleware, State, TooLarge, Unsupported, gather, group
from longboat.brokers.memory import MemoryBroker
from longboat.client import waiting
from longboat.client.client import Client
from longboat.client.waiting import BLOCKING
from longboat.contract.capabilities import Capability
from longboat.core.seldom import Seldom
from longboat.tasks.define import define
from tests.rigs.waiting import until


class Within(MemoryBroker):
    """Keeps its jobs in the "database" that a list stands for."""

    capabilities = MemoryBroker.capabilities | {Capability.TRANSACTIONAL}

    def within(self, connection: list[str]) -> SimpleNamespace:
        def put(jobs: Sequence[Job]) -> list[str]:
            connection.extend(job.id for job in jobs)
            return self.put(jobs)

        return SimpleNamespace(kv=self.kv, inspector=self.inspector, put=put)


def noted(text: str) -> str:
    return text


def test_a_child_within_a_transaction_is_still_a_child() -> None:
    client, connection = Client(Within()), list[str]()
    task = define(noted, {}, lambda: client)
    parent = task.s("a").enqueue().jobs()[0]
    child = task.using(connection=connection).enqueue_child(parent.id, "b")
    many = task.using(connection=connection).enqueue_many([("c",), ("d",)])
    assert connection == [child.id, *[each.id for each in many]]
    view = child.view()
    assert (view.headers, view.constraints and view.constraints.flow) == (
        {"parent": parent.id},
        parent.view().constraints.flow,  # type: ignore[union-attr]  # it is there
    )
    client.close()


def test_a_broker_that_keeps_its_jobs_elsewhere_says_so() -> None:
    with Longboat("memory://") as app, pytest.raises(Unsupported, match="connection"):
        app.named("t").using(connection=object()).enqueue()


class Stamp(Middleware):
    def before_enqueue(self, job: Job) -> None:
        job.headers = {**job.headers, "stamp": job.task}


@pytest.mark.parametrize(
    "call",
    [
        lambda task: task.enqueue("x" * 1_000_001),
        lambda task: task.enqueue_many([("a",), ("x" * 1_000_001,)]),
        lambda task: task.using(connection=[]).enqueue("x" * 1_000_001),
        lambda task: task.enqueue_child("parent", "x" * 1_000_001),
        lambda task: group(task.s("a"), task.s("x" * 1_000_001)).enqueue(),
    ],
    ids=["enqueue", "many", "within", "child", "flow"],
)
def test_whatever_the_call_what_is_too_large_is_refused_and_nothing_is_stored(call: Callable[[Any], object]) -> None:
    client = Client(Within())
    with pytest.raises(TooLarge, match="pass its path"):
        call(define(noted, {}, lambda: client))
    assert not client.broker.inspector.counts()
    assert not client.broker.kv.entries("flow")
    client.close()


def test_whatever_the_call_middlewares_see_the_job_before_it_is_stored() -> None:
    client = Client(Within(), [Stamp()])
    task = define(noted, {"name": "noted"}, lambda: client)
    jobs = [
        task.enqueue("a"),
        *task.enqueue_many([("b",)]),
        task.using(connection=[]).enqueue("c"),
        task.enqueue_child("parent", "d"),
        *group(task.s("e"), task.s("f")).enqueue().jobs(),
    ]
    assert [job.view().headers.get("stamp") for job in jobs] == ["noted"] * 6
    assert client.broker.inspector.counts() == {("default", State.READY): 6}
    client.close()


def test_an_event_loop_that_enqueueing_blocks_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Middleware):
        def before_enqueue(self, job: Job) -> None:  # noqa: ARG002  # as its base has it
            time.sleep(BLOCKING * 1.2)

    async def main() -> None:
        handle = await task.aenqueue(0)
        assert caplog.messages == []
        for number in range(2):
            task.enqueue(number)
        await handle

    with Longboat("memory://") as app:
        app.add_middleware(Slow())
        task = app.task(name="slow")(lambda number: number)
        task.enqueue(0)
        with app.worker():
            asyncio.run(main())
    (said,) = caplog.messages
    assert re.search(r"enqueueing slow blocked this thread's event loop for 0\.\d s: `await` aenqueue\(\) instead", said)


@pytest.mark.parametrize("way", ["result", "await", "gather", "flow"])
def test_whoever_waits_for_what_no_worker_takes_is_told_once(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "SILENT", 0.0)
    monkeypatch.setattr(waiting, "STALLED", 0.05)
    monkeypatch.setattr(waiting, "_told_unserved", Seldom(60.0))
    with Longboat(f"sqlite:///{tmp_path}/jobs.db") as app:
        task = app.task(name="noted", queue="night")(noted)
        flow = group(task.s("a"), task.s("b")).enqueue()
        jobs = [task.enqueue("a"), task.enqueue("b")]

        async def wait() -> None:
            await asyncio.gather(*jobs)

        wait_for: dict[str, Callable[[], object]] = {
            "result": jobs[0].result,
            "await": lambda: asyncio.run(wait()),
            "gather": gather(*jobs).result,
            "flow": flow.result,
        }
        waiter = threading.Thread(target=wait_for[way])
        waiter.start()
        until(lambda: caplog.records)
        with app.worker():
            waiter.join(20)
        assert not waiter.is_alive()
    assert [record.levelname for record in caplog.records if record.name == "longboat"] == ["WARNING"]
    assert f"no living worker serves queue night at sqlite:///{tmp_path}/jobs.db; start one" in caplog.text


def test_a_job_that_is_not_there_names_the_broker(tmp_path: Path) -> None:
    """Without its password: perhaps another one was meant."""
    with (
        Longboat(f"sqlite:///{tmp_path}/jobs.db") as app,
        pytest.raises(JobNotFound, match=r"no job 'x' at sqlite:///.*: it"),
    ):
        app.job("x").result(10)
