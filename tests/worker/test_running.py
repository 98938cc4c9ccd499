"""A worker inside this process: what it does with jobs, on every executor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from longboat import BadArguments, BrokerUnavailable, Job, JobCancelled, JobFailed, Longboat, State, gather
from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.core import codec, portions
from longboat.core.job import Done, Release
from longboat.core.reasons import EXPIRED, UNKNOWN_TASK
from longboat.executors.contract import KILLED, TIMEOUT
from longboat.worker import leases, room
from tests.apps.worker_tasks import calls, limit
from tests.rigs.waiting import until


def test_all_three_executors_run_in_one_worker(app: Longboat, tasks: Any) -> None:
    with app.worker(processes=1):
        jobs = [tasks.add.enqueue(1, 2), tasks.thread.enqueue(3, 4), tasks.square.enqueue(5)]
        assert gather(*jobs).result(timeout=20) == [3, 7, 25]


def test_a_worker_runs_on_the_loop_it_is_entered_in(app: Longboat, tasks: Any) -> None:
    async def main() -> list[int]:
        async with app.worker():
            return [await job for job in [await tasks.add.aenqueue(n, 1) for n in range(5)]]

    assert asyncio.run(main()) == [1, 2, 3, 4, 5]


def test_a_failing_job_is_dead_after_its_attempts_with_each_failure(app: Longboat, tasks: Any) -> None:
    with app.worker():
        job = tasks.fail.enqueue("no")
        with pytest.raises(JobFailed) as caught:
            job.result(timeout=10)
    assert calls == [1, 2, 3]
    assert (caught.value.type, caught.value.message, caught.value.attempts) == ("ValueError", "no", 3)
    assert "def fail" in caught.value.traceback or "in fail" in caught.value.traceback
    assert [failure.attempt for failure in job.view().failures] == [1, 2, 3]
    assert all(failure.worker and failure.at for failure in job.view().failures)


def test_an_error_that_is_not_to_be_retried_ends_the_job(app: Longboat, tasks: Any) -> None:
    with app.worker(), pytest.raises(JobFailed):
        tasks.picky.enqueue("no").result(timeout=10)
    assert calls == [1]


def test_a_result_that_cannot_be_serialised_is_the_attempts_error(app: Longboat, tasks: Any) -> None:
    with app.worker(), pytest.raises(JobFailed, match="object"):
        tasks.unserialisable.enqueue().result(timeout=10)


@pytest.mark.parametrize("name", ["nap", "doze"])
def test_time_out_tells_the_function_first(app: Longboat, tasks: Any, name: str) -> None:
    with app.worker(), pytest.raises(JobFailed) as caught:
        getattr(tasks, name).enqueue().result(timeout=10)
    assert (caught.value.type, calls) == (TIMEOUT, ["told"])


def test_time_out_tells_a_child_first(app: Longboat, tasks: Any, tmp_path: Path) -> None:
    with app.worker(processes=1), pytest.raises(JobFailed) as caught:
        tasks.spin.enqueue(str(tmp_path / "told")).result(timeout=20)
    assert caught.value.type == TIMEOUT
    assert (tmp_path / "told").exists()


def test_what_does_not_heed_a_time_out_is_abandoned(app: Longboat, tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "KILL_AFTER", 0.1)
    deaf = app.task(name="deaf", timeout=0.1)(_held)
    worker = app.worker(threads=1)
    with worker:
        with pytest.raises(JobFailed) as caught:
            deaf.enqueue().result(timeout=10)
        assert caught.value.type == TIMEOUT
        assert tasks.thread.enqueue(1, 1).result(timeout=10) == 2, "its slot is of use again"
        worker._recycle(0.0)
        assert worker.status.state == "working", "nobody takes its place"
        worker.status.replaced = True
        worker._recycle(0.0)
        assert worker.reason == "worn"
        limit.set()


def test_a_worker_that_has_finished_takes_no_more_jobs(app: Longboat, tasks: Any) -> None:
    with app.worker() as worker:
        assert tasks.add.enqueue(1, 2).result(timeout=10) == 3
        worker.finish("max-memory")
        later = tasks.add.enqueue(1, 2)
        with pytest.raises(TimeoutError):
            later.result(timeout=0.3)
        assert later.status() is State.READY
        assert worker.status.state == "stopping"


def _held() -> None:
    limit.wait(30)


def test_a_running_job_is_cancelled_within_about_a_second(app: Longboat, tasks: Any) -> None:
    with app.worker():
        job = tasks.wait.enqueue()
        until(lambda: calls == ["waiting"])
        began = monotonic()
        assert job.cancel()
        with pytest.raises(JobCancelled):
            job.result(timeout=10)
        assert monotonic() - began < 3
    assert job.status() is State.CANCELLED


def test_a_queued_job_is_cancelled_at_once(tasks: Any) -> None:
    job = tasks.add.enqueue(1, 2)
    assert job.cancel()
    assert job.status() is State.CANCELLED
    assert not job.cancel()


def test_delays_and_expiry(app: Longboat, tasks: Any) -> None:
    expired = tasks.add.using(expires=0.001).enqueue(1, 1)
    began = monotonic()
    later = tasks.add.using(run_at=datetime.now(UTC) + timedelta(seconds=0.3)).enqueue(1, 2)
    assert later.status() is State.SCHEDULED
    until(lambda: monotonic() - began > 0.01)
    with app.worker():
        assert later.result(timeout=10) == 3
        assert monotonic() - began >= 0.25
        with pytest.raises(JobCancelled):
            expired.result(timeout=10)
    assert expired.view().failures[-1].type == EXPIRED


def test_an_unknown_task_waits_for_a_worker_that_knows_it(app: Longboat) -> None:
    job = app.send("new.task", 20, b=22)
    with app.worker():
        until(lambda: job.status() is State.WAITING)

        async def new_task(a: int, b: int) -> int:
            return a + b

        app.task(name="new.task")(new_task)
        with app.worker():
            assert job.result(timeout=10) == 42
    assert job.view().attempts == 1
    assert not [failure for failure in job.view().failures if failure.type != UNKNOWN_TASK]


def test_a_child_that_dies_is_blamed_on_its_job_alone(app: Longboat, tasks: Any) -> None:
    with app.worker(processes=2):
        neighbours = tasks.square.enqueue_many([(n,) for n in range(200)])
        with pytest.raises(JobFailed) as caught:
            tasks.die.using(priority=1).enqueue().result(timeout=30)
        assert gather(*neighbours).result(timeout=30) == [n * n for n in range(200)]
    assert (caught.value.type, caught.value.attempts) == (KILLED, 3)
    assert "9" in caught.value.message
    assert {job.view().attempts for job in neighbours} == {1}


def count(path: str) -> int:
    calls.append(path)
    return len(path)


async def acount(path: str) -> int:
    return len(path)


def test_a_function_that_is_no_task_can_be_enqueued(app: Longboat) -> None:
    with app.worker():
        assert app.enqueue(count, "abc").result(timeout=10) == 3
        assert app.enqueue(acount, path="ab").result(timeout=10) == 2
        with pytest.raises(BadArguments, match="path"):
            app.enqueue(count, 1)  # type: ignore[call-overload]  # it is refused at the call
    assert app.registry.tasks == {}


def test_a_call_may_have_retries_and_a_timeout_of_its_own(app: Longboat, tasks: Any) -> None:
    with app.worker(processes=1):
        with pytest.raises(JobFailed) as caught:
            tasks.fail.using(retries=0).enqueue("no").result(timeout=10)
        assert caught.value.attempts == 1
        with pytest.raises(JobFailed) as caught:
            tasks.fail.using(retries=3).enqueue_many([("no",)])[0].result(timeout=10)
        assert caught.value.attempts == 4
        for task in (tasks.wait, tasks.doze):
            with pytest.raises(JobFailed, match=r"timeout of 0\.1 s") as caught:
                task.using(timeout=0.1).enqueue().result(timeout=20)
            assert caught.value.type == TIMEOUT
        assert tasks.square.using(timeout=None, retries=1).enqueue(3).result(timeout=20) == 9


@pytest.mark.parametrize("header", [{"retries": "x"}, {"retries": "-1"}, {"timeout": "nan"}, {"timeout": "0"}])
def test_a_job_whose_own_settings_make_no_sense_is_dead(app: Longboat, tasks: Any, header: dict[str, str]) -> None:
    job = Job(1, "odd", "add", codec.encode({"a": 1, "b": 2}), headers=header)
    app.broker.put([job])
    with app.worker():
        with pytest.raises(JobFailed, match=next(iter(header))):
            app.job("odd").result(timeout=10)
        assert tasks.add.enqueue(1, 2).result(timeout=10) == 3


def test_map_gives_results_in_order(app: Longboat) -> None:
    one = app.task(name="one")(count)
    with app.worker():
        assert list(one.map(["a", "bb", "ccc"])) == [1, 2, 3]
        job = one.enqueue("dddd")
        assert one.job(job.id).result(timeout=10) == 4


class Weighing:
    """The consumer of a worker, and what travels in each of its calls."""

    def __init__(self, app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
        self.received: list[list[int]] = []
        """Bytes of each job's arguments."""
        self.settled: list[int] = []
        """Bytes of all results."""
        self.fails = False
        """The next receive that brings something fails."""
        make = app.broker.consumer

        def weighing(*args: Any, **options: Any) -> Consumer:
            consumer = make(*args, **options)
            receive, settle = consumer.receive, consumer.settle

            def weigh_received(n: int, *, wait: float) -> list[Lease]:
                leases = receive(n, wait=wait)
                if leases and self.fails:
                    self.fails = False
                    settle([Settlement(lease, Release()) for lease in leases])
                    raise BrokerUnavailable("no answer in time")
                self.received.append([len(lease.job.payload) for lease in leases])
                return leases

            def weigh_settled(settlements: Sequence[Settlement], **options: Any) -> list[Lease]:
                results = [each.outcome.result for each in settlements if isinstance(each.outcome, Done)]
                self.settled.append(sum(map(len, results)))
                return settle(settlements, **options)

            monkeypatch.setattr(consumer, "receive", weigh_received)
            monkeypatch.setattr(consumer, "settle", weigh_settled)
            return consumer

        monkeypatch.setattr(app.broker, "consumer", weighing)


def test_big_results_are_settled_by_bytes(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    size, number = 300_000, 60
    weighing = Weighing(app, monkeypatch)
    started = 0
    all_started = asyncio.Event()

    @app.task(name="big")
    async def big() -> bytes:
        nonlocal started
        started += 1
        if started == number:
            all_started.set()
        await all_started.wait()
        return bytes(size)

    with app.worker(concurrency=number):
        assert gather(*big.enqueue_many([()] * number)).result(timeout=20) == [bytes(size)] * number
    assert sum(weighing.settled) >= size * number
    assert max(weighing.settled) <= portions.BYTES


def test_big_jobs_are_received_by_bytes(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a receive that did not come in time, perhaps because of their size, only a few are asked for."""
    weighing = Weighing(app, monkeypatch)
    weighing.fails = True

    @app.task(name="length")
    async def length(data: bytes) -> int:
        return len(data)

    big = length.enqueue_many([(bytes(200_000),)] * 60)
    small = length.enqueue_many([(b"",)] * 900)
    with app.worker(concurrency=1000):
        assert gather(*big, *small).result(timeout=20) == [200_000] * 60 + [0] * 900
    sizes = [each for each in weighing.received if each]
    assert len(sizes[0]) == room.FEW
    assert max(map(sum, sizes)) <= room.BYTES
    assert max(map(len, sizes)) > room.UNKNOWN, "small jobs come by hundreds"
