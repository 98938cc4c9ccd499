"""The client's one door: what a call asks for, in any combination, is done to its jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from longboat import Job, Longboat, Middleware, State, TooLarge, Unsupported, group
from longboat.brokers.memory import MemoryBroker
from longboat.client.client import Client
from longboat.client.waiting import BLOCKING
from longboat.contract.capabilities import Capability
from longboat.tasks.define import define


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
    assert "enqueueing slow blocked this thread's event loop for 0.1 s: `await` aenqueue() instead" in said
