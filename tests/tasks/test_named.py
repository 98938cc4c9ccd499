"""What workers tell of their tasks: jobs enqueued by name go by it, and so do the limits of jobs that are queued already."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from longboat import Limit, Longboat, Unique
from longboat.contract.kv import Entry
from longboat.contract.limit_numbers import NAMESPACE as LIMITS
from longboat.core import codec
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import BadArguments
from longboat.tasks.limits import names_of
from longboat.tasks.record import KEPT, NAMESPACE, decoded, told
from longboat.worker.task_records import BELIEVED, TaskRecordWriter


class Odd:
    """Nothing that can be stored."""


def made(url: str, running: int = 1) -> Longboat:
    """An app with the code."""
    app = Longboat(url)

    @app.task(
        name="bill",
        queue="money",
        priority=7,
        expires="1h",
        keep_result="2h",
        limit=[Limit(key="{customer}", running=running), Limit(rate="100/m", name="mails")],
        fair_by="{region}",
    )
    async def bill(customer: str, month: int = 1, *, region: str = "eu", odd: Any = Odd) -> None:
        """Send a bill.

        By mail.
        """

    @app.task(name="plan", limit=Limit(key="{on:%Y-%m} {rate}", running=1), unique=Unique())
    def plan(on: date, rate: float = 2) -> None: ...

    @app.task(name="report", unique=Unique(by="{user}", until="10m"))
    def report(user: str) -> None: ...

    return app


def tell(app: Longboat) -> TaskRecordWriter:
    writer = TaskRecordWriter(app.broker.kv, app.registry)
    writer.run(time.time())
    return writer


def view(app: Longboat, job_id: str) -> JobView:
    found = app.client.view(job_id)
    assert found.constraints is None or found.constraints.flow == ""
    return found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def apps(url: str) -> Iterator[tuple[Longboat, Longboat]]:
    """One with the code and one without."""
    with made(url) as app, Longboat(url) as other:
        yield app, other


def test_a_job_sent_by_name_is_as_one_sent_by_the_task(apps: tuple[Longboat, Longboat]) -> None:
    app, other = apps
    tell(app)
    bill, by_name = app.registry.tasks["bill"], other.named("bill")
    pairs = [
        (bill.enqueue("ann", 2), other.send("bill", "ann", 2)),
        (bill.enqueue("ann", region="us"), by_name.enqueue("ann", region="us")),
        (bill.using(priority=1, queue="q").enqueue("bob"), by_name.using(priority=1).using(queue="q").enqueue("bob")),
        (bill.enqueue_many([("a", 1)])[0], by_name.enqueue_many([("a", 1)])[0]),
    ]
    for mine, theirs in pairs:
        one, two = view(app, mine.id), view(app, theirs.id)
        assert (one.queue, one.priority, one.due is None) == (two.queue, two.priority, two.due is None)
        assert (one.payload, one.constraints) == (two.payload, two.constraints)
    assert view(app, pairs[0][1].id).constraints.fairness_key == "eu"  # type: ignore[union-attr]  # it is there
    flow = by_name.s("ann").enqueue()
    jobs = [
        job for job in app.broker.inspector.jobs(State.READY).jobs if job.constraints and job.constraints.flow == flow.id
    ]
    assert [(job.queue, job.priority, len(job.constraints.limits)) for job in jobs if job.constraints] == [("money", 7, 2)]
    first, again = other.send("report", "ann"), other.send("report", user="ann")
    assert (first.id, again.new) == (again.id, False)


def test_keys_are_those_of_the_annotated_types(apps: tuple[Longboat, Longboat]) -> None:
    app, other = apps
    tell(app)
    plan, by_name = app.registry.tasks["plan"], other.named("plan")
    first = plan.enqueue(date(2026, 11, 28), 3)
    assert [limit.key for limit in view(app, first.id).constraints.limits] == ["plan:2026-11 3.0"]  # type: ignore[union-attr]  # it is there
    for again in (by_name.enqueue("2026-11-28", 3), by_name.enqueue(date(2026, 11, 28), rate=3.0)):
        assert (again.id, again.new) == (first.id, False)
    assert by_name.enqueue("2026-11-28").id == plan.enqueue(date(2026, 11, 28)).id, "a default is as one that is given"


@pytest.mark.parametrize("call", [(), ("ann", 1, 2), {"who": 1}])
def test_arguments_of_other_names_are_refused_where_they_are_sent(call: Any, apps: tuple[Longboat, Longboat]) -> None:
    app, other = apps
    tell(app)
    with pytest.raises(BadArguments, match=r"'bill'.*customer: 'str', month: 'int' = 1"):
        other.named("bill").enqueue_many([call])


def test_a_coroutine_looks_it_up_beside_the_loop(apps: tuple[Longboat, Longboat]) -> None:
    app, other = apps
    tell(app)
    read, threads = other.broker.kv.read, set()

    class Watched:
        def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
            threads.add(threading.get_ident())
            return read(namespace, keys)

    records = other.client.records
    records._kv = Watched()  # type: ignore[assignment]  # it is watched

    async def sent() -> list[str]:
        (many,) = await other.named("report").aenqueue_many([("ann",)])
        records._known.clear()
        await other.named("bill").s("ann").aenqueue()
        records._known.clear()
        return [(await other.asend("bill", "ann")).id, many.id]

    assert view(app, asyncio.run(sent())[0]).queue == "money"
    assert threads
    assert threading.get_ident() not in threads


def test_it_is_said_once_when_no_worker_has_told(apps: tuple[Longboat, Longboat], caplog: pytest.LogCaptureFixture) -> None:
    app, other = apps
    with caplog.at_level(logging.WARNING, "longboat.client"):
        sent = [other.send("untold.yet", 1, x=2) for _ in range(3)]
    assert len(caplog.records) == 1
    assert "untold.yet: no worker has told of this task" in caplog.text
    assert [view(app, job.id).queue for job in sent] == ["default"] * 3
    assert codec.decode(view(app, sent[0].id).payload)["x"] == 2


def test_a_default_that_cannot_be_stored_is_left_out(apps: tuple[Longboat, Longboat]) -> None:
    app, other = apps
    tell(app)
    parameters = other.named("bill").present().arguments.parameters
    assert [(each.name, each.kind.name, each.annotation) for each in parameters.values()] == [
        ("customer", "POSITIONAL_OR_KEYWORD", "str"),
        ("month", "POSITIONAL_OR_KEYWORD", "int"),
        ("region", "KEYWORD_ONLY", "str"),
        ("odd", "KEYWORD_ONLY", "Any"),
    ]
    assert parameters["customer"].default is inspect.Parameter.empty
    assert (parameters["month"].default, repr(parameters["odd"].default)) == (1, "…")
    assert "odd" not in codec.decode(view(app, other.send("bill", "ann").id).payload)


@pytest.mark.parametrize("value", [b"", b"\xc0", b"\x81\xa5queue\x01", b"\x81\xaaparameters\x91\x92\xa1x\xa1y"])
def test_what_cannot_be_read_is_as_nothing(value: bytes, apps: tuple[Longboat, Longboat]) -> None:
    app, other = apps
    app.broker.kv.write(NAMESPACE, [Entry("bill", value)])
    assert told(value) is None
    assert view(app, other.send("bill", "ann").id).queue == "default"
    tell(app)
    assert decoded(app.broker.kv.read(NAMESPACE, ["bill"])[0]) is not None


# --- who has the word


def nothing() -> None: ...


def queue_told(app: Longboat) -> str:
    record = decoded(app.broker.kv.read(NAMESPACE, ["t"])[0])
    assert record is not None
    return record.queue


def test_the_worker_that_began_last_has_the_word(url: str) -> None:
    with Longboat(url) as old, Longboat(url) as new:
        old.task(name="t", queue="old")(nothing)
        new.task(name="t", queue="new")(nothing)
        first, second = TaskRecordWriter(old.broker.kv, old.registry), TaskRecordWriter(new.broker.kv, new.registry)
        now = time.time()
        first.run(now)
        assert queue_told(old) == "old"
        now = second.run(now)
        assert queue_told(old) == "new"
        for _ in range(3):
            first.run(now)
            assert queue_told(old) == "new"
            now = second.run(now)
        first.run(now + BELIEVED)
        assert queue_told(old) == "old", "the other one has gone"


def test_a_record_outlives_its_workers_for_a_week(apps: tuple[Longboat, Longboat]) -> None:
    assert KEPT == 7 * 86400.0
    app, other = apps
    with app.worker():
        pass
    assert view(app, other.send("bill", "ann").id).queue == "money"


# --- numbers


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([Limit(running=1)], [Limit(running=3)], ["[3,null,0.000000]"]),
        ([Limit(rate="5/s")], [Limit(rate="100/m", running=2)], ["[2,100,60.000000]"]),
        ([Limit(running=1)], [], ["[null,null,0.000000]"]),
        ([Limit(key="{a}", running=1)], [Limit(key="{b}", running=4)], ["[4,null,0.000000]"]),
        (
            [Limit(running=1), Limit(key="{a}", running=2)],
            [Limit(key="{a}", running=3)],
            ["[null,null,0.000000]", "[3,null,0.000000]"],
        ),
        (
            [Limit(rate="5/s"), Limit(rate="100/m")],
            [Limit(rate="6/s"), Limit(rate="90/m")],
            ["[null,6,1.000000]", "[null,90,60.000000]"],
        ),
    ],
)
def test_queued_jobs_go_by_the_numbers_of_the_newest_code(
    before: list[Limit], after: list[Limit], expected: list[str], url: str
) -> None:
    def f(a: int = 0, b: int = 0) -> None: ...

    with Longboat(url) as old, Longboat(url) as new:
        old.task(name="t", limit=before)(f)
        new.task(name="t", limit=after)(f)
        names = [limit.name for limit in view(old, old.registry.tasks["t"].enqueue().id).constraints.limits]  # type: ignore[union-attr]  # it is there
        assert names == names_of("t", tuple(before))
        tell(old)
        tell(new)
        assert [value.decode() for value in old.broker.kv.read(LIMITS, names) if value] == expected


def test_a_backlog_runs_by_the_number_of_the_new_worker(url: str) -> None:
    three = threading.Barrier(3)

    def meet(customer: str) -> str:
        three.wait(20)
        return customer

    with Longboat(url) as old, Longboat(url) as new:
        old.task(name="meet", limit=Limit(key="{customer}", running=1))(meet)
        new.task(name="meet", limit=Limit(key="{customer}", running=3))(meet)
        jobs = old.registry.tasks["meet"].enqueue_many([("ann",)] * 6)
        with new.worker(threads=6):
            for job in jobs:
                job.result(30)
