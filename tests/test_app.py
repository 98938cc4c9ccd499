"""The calling side: jobs go out together, results come in, and every caller hears what became of his."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from longboat import (
    AppClosed,
    BadArguments,
    BrokerError,
    BrokerFull,
    BrokerUnavailable,
    JobNotFound,
    Longboat,
    ResultTimeout,
    State,
    TooLarge,
    as_completed,
    gather,
)
from longboat.client import waiting
from longboat.contract.broker import Token
from longboat.core.job import Job, new_id, new_ids, order_of


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Longboat]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"
    with Longboat(url) as made:
        yield made


@pytest.fixture
def double(app: Longboat) -> Any:
    async def double(x: int) -> int:
        return 2 * x

    return app.task(name="double")(double)


@pytest.fixture
def puts(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the puts that reach the broker."""
    sizes: list[int] = []
    put = app.broker.put

    def counted(jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        sizes.append(len(jobs))
        return put(jobs, token=token)

    monkeypatch.setattr(app.broker, "put", counted)
    return sizes


def test_a_thousand_coroutines_leave_in_few_puts(double: Any, puts: list[int]) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*[double.aenqueue(n) for n in range(1000)])

    handles = asyncio.run(main())
    assert len({handle.id for handle in handles}) == 1000
    assert sum(puts) == 1000
    assert len(puts) <= 20


def test_calls_of_threads_leave_together(double: Any, puts: list[int]) -> None:
    threads = [threading.Thread(target=lambda: [double.enqueue(n) for n in range(20)]) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(puts) == 400
    assert double.enqueue(1).new


def test_many_at_once_go_in_batches(double: Any, puts: list[int]) -> None:
    handles = double.enqueue_many((n,) for n in range(2500))
    assert puts == [1000, 1000, 500]
    assert [order_of(handle.id) for handle in handles] == sorted(order_of(handle.id) for handle in handles)  # type: ignore[type-var]  # they are comparable
    assert double.enqueue_many([{"x": 1}])[0].new


def test_a_bad_item_names_its_place_and_what_was_before_it_is_stored(app: Longboat, double: Any) -> None:
    with pytest.raises(BadArguments, match="item 1500: task 'double': argument 'x'"):
        double.enqueue_many([(n,) for n in range(1500)] + [("no",)])
    assert app.broker.inspector.counts() == {("default", State.READY): 1000}
    with pytest.raises(BadArguments, match=r"item 0: .* neither a tuple"):
        double.enqueue_many([3])


@pytest.mark.parametrize("error", [BrokerFull, BrokerUnavailable])
def test_every_caller_hears_of_a_put_that_failed(
    app: Longboat, double: Any, monkeypatch: pytest.MonkeyPatch, error: type[BrokerError]
) -> None:
    def put(jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:  # noqa: ARG001  # as its protocol has it
        raise error("no")

    monkeypatch.setattr(app.broker, "put", put)

    async def main() -> list[Any]:
        return await asyncio.gather(*[double.aenqueue(n) for n in range(50)], return_exceptions=True)

    assert {type(told) for told in asyncio.run(main())} == {error}
    with pytest.raises(error):
        double.enqueue(1)
    with pytest.raises(error):
        double.enqueue_many([(1,)] * 3000)


def test_a_chosen_id_makes_one_job(double: Any) -> None:
    first, second = (double.using(id="invoice-7").enqueue(n) for n in (1, 2))
    assert (first.new, second.new, first.id) == (True, False, second.id)


def test_too_large_arguments_are_refused_here(app: Longboat) -> None:
    with pytest.raises(TooLarge, match="pass its path"):
        app.send("blob", b"x" * 1_000_001)
    assert not app.broker.inspector.counts()


def test_results_come_in_every_way(double: Any, app: Longboat) -> None:
    async def main() -> list[int]:
        found = [handle.id async for handle in as_completed(jobs, timeout=10)]
        assert sorted(found) == sorted(handle.id for handle in jobs)
        return await gather(*jobs) + [await double.enqueue(21)]

    with app.worker():
        jobs = double.enqueue_many([(n,) for n in range(100)])
        assert {handle.result() for handle in as_completed(jobs, timeout=10)} == {2 * n for n in range(100)}
        assert asyncio.run(main()) == [*range(0, 200, 2), 42]
        assert app.job(jobs[3].id).result(timeout=5) == 6


def test_waiting_is_bounded(double: Any) -> None:
    job = double.enqueue(1)
    with pytest.raises(ResultTimeout, match="it goes on"):
        job.result(timeout=0.01)
    with pytest.raises(ResultTimeout, match="2 of 2"):
        list(as_completed([job, double.enqueue(2)], timeout=0.01))


def test_a_wait_that_ends_too_soon_says_why_the_job_has_not_ended(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "STALLED", 0.1)

    async def late() -> None:
        async for _ in as_completed(jobs, timeout=0.15):
            raise AssertionError

    jobs = [double.using(queue="mail").enqueue(n) for n in range(2)]
    why = "no living worker serves queue mail"
    with pytest.raises(ResultTimeout, match=f"job {jobs[0].id} has not ended within 0.15 s: {why}"):
        jobs[0].result(timeout=0.15)
    with pytest.raises(ResultTimeout, match=f"2 of 2 jobs have not ended within 0.15 s: double {jobs[0].id}: {why}"):
        gather(*jobs).result(timeout=0.15)
    with pytest.raises(ResultTimeout, match=why):
        asyncio.run(late())
    with pytest.raises(ResultTimeout, match=f"has not ended within 0.15 s: double .*: {why}"):
        double.using(queue="mail").s(1).then(double).enqueue().result(timeout=0.15)


def test_a_job_that_nobody_knows_is_told_so_at_once(app: Longboat, double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "STALLED", 0.1)

    async def wait(job: Any) -> None:
        await job

    with app.worker():
        assert double.enqueue(1).result(timeout=10) == 2
    began = time.monotonic()
    for timeout in (0, 20):
        with pytest.raises(JobNotFound, match="no job"):
            app.job(new_id()).result(timeout=timeout)
        with pytest.raises(JobNotFound, match="no job"):
            gather(app.job(new_id())).result(timeout=timeout)
    gone, flow = double.enqueue(1), double.s(1).then(double).enqueue()
    app.broker.inspector.purge([State.READY, State.WAITING])
    for job in (app.job(new_id()), gone):
        with pytest.raises(JobNotFound, match="no job"):
            asyncio.run(wait(job))
    for job in (gone, gather(gone), flow, app.flow(flow.id)):
        with pytest.raises(JobNotFound, match="no job"):
            job.result(timeout=20)
    with pytest.raises(JobNotFound):
        app.job("nope").status()
    assert time.monotonic() - began < 10


def test_a_job_whose_result_is_not_kept_cannot_be_waited_for(double: Any) -> None:
    with pytest.raises(JobNotFound, match="keep_result=0"):
        double.using(keep_result=0).enqueue(1).result()


def test_closing_tells_who_waits(app: Longboat, double: Any) -> None:
    job = double.enqueue(1)
    told: list[BaseException] = []

    def wait() -> None:
        try:
            job.result()
        except AppClosed as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not app.client._inbox._waiters:
        pass
    app.close()
    waiting.join(10)
    assert "closed" in str(told[0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_an_app_survives_a_fork(tmp_path: Path) -> None:
    with Longboat(f"sqlite:///{tmp_path}/jobs.db") as app:
        before = app.send("task", 1)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(write, app.send("task", 2).id.encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        theirs = os.read(read, 100).decode()
        os.close(read)
        os.close(write)
        after = app.send("task", 3)
        assert [app.job(job).status() for job in (before.id, theirs, after.id)] == [State.READY] * 3
        assert theirs[17:] != before.id[17:]


def test_ids_grow_and_never_meet() -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(new_id() for _ in range(1000))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8000
    some = new_ids(100)
    orders = [order_of(each) or 0 for each in some]
    assert orders == list(range(orders[0], orders[0] + 100))
    assert orders[0] > max(order_of(each) or 0 for each in found)


@pytest.mark.parametrize("chosen", ["", "x", "A" * 33, "8" * 16 + "-" + "0" * 15 + "g", "f" * 16 + "-" + "0" * 16])
def test_other_ids_have_no_place_in_time(chosen: str) -> None:
    assert order_of(chosen) is None


def test_a_wait_that_ends_too_soon_names_the_broker_that_has_no_worker(tmp_path: Path) -> None:
    with Longboat(f"sqlite:///{tmp_path}/here.db?timeout=5s") as here:
        job = here.named("mail.send").using(queue="mail").enqueue()
        with pytest.raises(ResultTimeout, match=f"no living worker serves queue mail at sqlite:///{tmp_path}/here.db$"):
            job.result(timeout=0.6)
