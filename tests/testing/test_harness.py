"""An app under test: its jobs run inside the test, by the clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from unittest.mock import ANY

import pytest

from longboat import (
    BadArguments,
    BrokerUnavailable,
    Depends,
    JobFailed,
    Limit,
    Longboat,
    ResultTimeout,
    State,
    Unique,
    WouldBlock,
    as_completed,
    current,
    every,
    gather,
    group,
)
from longboat.testing import Harness, Performed

app = Longboat("sqlite:////nowhere/queue.db")  # never opened
ran: list[object] = []


@dataclass
class Row:
    number: int


@app.task(queue="mail", retries=2, backoff=["1m", "10m"], retry_on=ConnectionError)
def send(to: str, copies: int = 1) -> str:
    ran.append((to, current().attempt))
    if to == "flaky" and current().attempt < 3:
        raise ConnectionError("not yet")
    if to == "bad":
        raise ValueError("no address")
    return f"{copies} to {to}"


@app.task
async def save(row: Row) -> Row:
    await asyncio.sleep(0)
    ran.append(row)
    return Row(row.number + 1)


@app.task
def total(rows: list[Row]) -> int:
    return sum(row.number for row in rows)


@app.task
def both(number: int) -> None:
    ran.append(("both", number))
    send.enqueue("child")
    if number:
        both.enqueue(number - 1)


@app.task(limit=Limit(rate="1/m", key="{name}"))
def limited(name: str) -> None:
    ran.append(name)


@app.schedule("0 7 * * 1", tz="UTC")
@app.task
def weekly() -> None:
    ran.append("Monday")


@app.schedule(every("1h"))
@app.task
def hourly() -> None:
    ran.append("tick")


@pytest.fixture
def jobs() -> Iterator[Harness]:
    ran.clear()
    with Harness(app) as harness:
        yield harness


def states(done: list[Performed]) -> list[tuple[str, int, str]]:
    return [(each.task.rpartition(".")[2], each.attempt, each.state) for each in done]


def test_jobs_run_in_order_with_what_they_enqueue_when_the_test_says_so(jobs: Harness) -> None:
    first = send.using(priority=-1).enqueue("a@b.c", copies=2)
    both.enqueue(1)
    assert ran == []
    done = jobs.perform_jobs()
    assert sorted(states(done)) == sorted(
        [("both", 1, "succeeded"), ("both", 1, "succeeded"), *[("send", 1, "succeeded")] * 3]
    )
    assert done[-1].result == "2 to a@b.c"
    assert first.result(0) == "2 to a@b.c"
    assert jobs.perform_jobs() == []


def test_values_travel_as_with_a_worker(jobs: Harness) -> None:
    handle = save.enqueue(Row(1))
    assert [each.result for each in jobs.perform_jobs()] == [Row(2)]
    assert handle.result(0) == Row(2)
    with pytest.raises(BadArguments):
        save.enqueue(1)  # type: ignore[arg-type]  # what is wrong on purpose


def test_time_is_moved_by_hand(jobs: Harness) -> None:
    handle = send.using(delay="1h").enqueue("later")
    expired = send.using(expires="30m").enqueue("never")
    assert states(jobs.perform_jobs())[0] == ("send", 1, "succeeded")
    late = send.using(expires="30m", delay="45m").enqueue("never")
    jobs.clock.move("59m")
    assert expired.status() is State.SUCCEEDED
    assert late.status() is State.CANCELLED
    assert [each for each in jobs.perform_jobs() if each.task.endswith("send")] == []
    jobs.clock.move("1m")
    jobs.perform_jobs()
    assert handle.result(0) == "1 to later"


def test_retries_come_when_their_pause_is_over(jobs: Harness) -> None:
    handle = send.enqueue("flaky")
    assert states(jobs.perform_jobs()) == [("send", 1, "retried")]
    assert jobs.perform_jobs() == []
    jobs.clock.move("1m")
    (again,) = jobs.perform_jobs()
    assert isinstance(again.error, ConnectionError)
    jobs.clock.move("10m")
    assert states(jobs.perform_jobs()) == [("send", 3, "succeeded")]
    assert handle.result(0) == "1 to flaky"


def test_limits_by_rate_follow_the_clock(jobs: Harness) -> None:
    for _ in range(3):
        limited.enqueue("x")
    seen = []
    for _ in range(3):
        jobs.perform_jobs()
        seen.append(ran.count("x"))
        jobs.clock.move("1m")
    assert seen == [1, 2, 3]


def test_each_tick_of_a_schedule_on_the_way_makes_a_job(jobs: Harness) -> None:
    jobs.perform_jobs()
    assert "tick" not in ran
    jobs.clock.move("3h")
    jobs.perform_jobs()
    assert ran.count("tick") == 3
    assert "Monday" not in ran
    jobs.clock.move("4h")
    jobs.perform_jobs()
    assert (ran.count("tick"), ran.count("Monday")) == (7, 1)


def test_flows_and_unique_calls_work(jobs: Harness) -> None:
    flow = group(save.s(Row(1)), save.s(Row(2))).then(total).enqueue()
    first, second = (send.using(unique=Unique()).enqueue("once") for _ in range(2))
    assert (first.id == second.id, second.new) == (True, False)
    jobs.perform_jobs()
    assert flow.result() == 5
    jobs.assert_enqueued(send, "once", times=1)
    with jobs.eager():
        assert group(save.s(Row(1)), save.s(Row(2))).then(total).enqueue().result() == 5


def test_a_dead_job_raises_what_its_function_raised(jobs: Harness) -> None:
    handle = send.enqueue("bad")
    with pytest.raises(ValueError, match="no address") as caught:
        jobs.perform_jobs()
    assert caught.traceback[-1].name == "send"
    with pytest.raises(JobFailed, match="no address"):
        handle.result(0)
    send.enqueue("bad")
    send.enqueue("good")
    assert states(jobs.perform_jobs(raises=False)) == [("send", 1, "dead"), ("send", 1, "succeeded")]


def test_a_job_of_no_task_here_raises_too(jobs: Harness) -> None:
    app.send("elsewhere.task", 1)
    with pytest.raises(JobFailed, match=r"elsewhere\.task"):
        jobs.perform_jobs()


def test_a_task_that_enqueues_itself_for_ever_is_stopped(jobs: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.testing.harness.MOST", 50)
    both.enqueue(1_000_000)
    with pytest.raises(AssertionError, match=r"does .*both enqueue itself"):
        jobs.perform_jobs()


@pytest.mark.usefixtures("jobs")
def test_nobody_waits_for_a_job_that_nobody_runs() -> None:
    handle = send.using(delay="1h").enqueue("a@b.c")
    for waiting in (
        lambda: gather(handle).result(),
        lambda: [*as_completed([handle])],
        save.s(Row(1)).then(save).enqueue().result,
    ):
        with pytest.raises(ResultTimeout, match="perform_jobs"):
            waiting()
    with pytest.raises(ResultTimeout, match=r"it is scheduled.*perform_jobs\(\)"):
        handle.result()

    async def waits() -> None:
        with pytest.raises(ResultTimeout, match=r"perform_jobs"):
            await handle

    asyncio.run(waits())


def test_the_app_is_what_it_was_afterwards() -> None:
    own = Longboat("memory://")
    broker, url = own.broker, own.url
    with Harness(own):
        assert own.broker is not broker
        own.close()  # as a web framework's shutdown does
        assert own.broker is not broker
    assert own.broker is broker
    assert own.url == url


def test_what_was_enqueued_is_asserted(jobs: Harness) -> None:
    send.using(delay="1h", queue="slow").enqueue("a@b.c")
    send.enqueue("x@y.z", copies=3)
    jobs.perform_jobs()
    jobs.assert_enqueued(send)
    jobs.assert_enqueued(send, times=2)
    jobs.assert_enqueued(send, "a@b.c", queue="slow", delay="1h", times=1)
    jobs.assert_enqueued(send, ANY, copies=3)
    jobs.assert_enqueued(send.s("a@b.c"))
    jobs.assert_enqueued(f"{__name__}.send", to="x@y.z")
    assert jobs.assert_enqueued(send, "x@y.z").result(0) == "3 to x@y.z"
    jobs.assert_not_enqueued(save)
    jobs.assert_not_enqueued(send, "nobody")
    jobs.assert_not_enqueued(send.s("x@y.z"))  # that call has one copy


def test_what_was_not_enqueued_is_told_with_what_comes_nearest(jobs: Harness) -> None:
    with pytest.raises(AssertionError, match=r"send\(…\) was not enqueued: nothing was enqueued"):
        jobs.assert_enqueued(send)
    save.enqueue(Row(1))
    send.enqueue("a@b.c")
    with pytest.raises(AssertionError) as caught:
        jobs.assert_enqueued(send, "a@b.c", copies=2, queue="mail")
    assert str(caught.value).splitlines() == [
        f"{__name__}.send(to='a@b.c', copies=2), queue 'mail' was not enqueued. In order, these were:",
        f"  1. {__name__}.save(row=Row(number=1)), queue 'default'",
        f"  2. {__name__}.send(to='a@b.c', copies=1), queue 'mail'",
        "Nearest is 2: copies is 1, not 2",
    ]
    with pytest.raises(AssertionError, match="was enqueued once, not 2 times"):
        jobs.assert_enqueued(send, times=2)
    with pytest.raises(AssertionError, match=r"was enqueued once\. In order"):
        jobs.assert_not_enqueued(send, "a@b.c")
    with pytest.raises(BadArguments, match="nobody"):
        jobs.assert_enqueued(send, nobody=1)


def test_eager_runs_a_job_before_enqueue_returns(jobs: Harness) -> None:
    with jobs.eager():
        assert send.enqueue("a@b.c").result(0) == "1 to a@b.c"
        assert send.enqueue("flaky").result(0) == "1 to flaky"
        assert save.enqueue(Row(1)).result(0) == Row(2)
        later = send.using(delay="1h").enqueue("later")
        assert later.status() is State.SCHEDULED
        with pytest.raises(ValueError, match="no address"):
            send.enqueue("bad")
    with jobs.eager(raises=False):
        assert send.enqueue("bad").status() is State.DEAD
    assert send.enqueue("waits").status() is State.READY


def test_eager_runs_what_a_job_enqueues_before_that_returns(jobs: Harness) -> None:
    with jobs.eager():
        both.enqueue(1)
    assert ran == [("both", 1), ("child", 1), ("both", 0), ("child", 1)]


def test_coroutines_perform_on_their_own_loop(jobs: Harness) -> None:
    loops = []

    @app.task(name="where")
    async def where() -> None:
        loops.append(asyncio.get_running_loop())

    @app.task(name="thread")
    def thread() -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()

    async def test() -> None:
        await where.aenqueue()
        await thread.aenqueue()
        with pytest.raises(WouldBlock, match="await aperform_jobs"):
            jobs.perform_jobs()
        assert {each.state for each in await jobs.aperform_jobs()} == {"succeeded"}
        assert loops == [asyncio.get_running_loop()]
        with jobs.eager():
            await (await where.aenqueue())
            assert loops[1:] == [asyncio.get_running_loop()]
            thread.enqueue()  # by a call that does not await
            where.enqueue()
            assert loops[2] is not asyncio.get_running_loop()

    try:
        asyncio.run(test())
    finally:
        del app.registry.tasks["where"], app.registry.tasks["thread"]


def test_what_a_worker_opens_is_opened_for_the_jobs_and_closed_after_them() -> None:
    told: list[str] = []
    own = Longboat("memory://")

    @own.lifespan
    async def opened() -> AsyncIterator[str]:
        told.append("open")
        yield "pool"
        told.append("close")

    @own.task(name="uses")
    async def uses(pool: str = Depends(opened)) -> None:
        told.append(pool)

    with Harness(own) as jobs:
        uses.enqueue()
        uses.enqueue()
        jobs.perform_jobs()
    assert told == ["open", "pool", "pool", "close"]


def test_a_real_worker_runs_in_the_test(jobs: Harness) -> None:
    with jobs.worker():
        assert send.enqueue("a@b.c").result("10s") == "1 to a@b.c"
        later = send.using(delay="1h").enqueue("later")
        jobs.clock.move("1h")
        assert later.result("10s") == "1 to later"


def test_an_outage_is_what_callers_see_of_it(jobs: Harness) -> None:
    with jobs.outage():
        with pytest.raises(BrokerUnavailable, match="outage"):
            send.enqueue("a@b.c")
        with pytest.raises(BrokerUnavailable):
            jobs.perform_jobs()
    jobs.assert_not_enqueued(send)
    send.enqueue("a@b.c")
    assert len(jobs.perform_jobs()) == 1
