"""Calls made together leave in one put, and each caller learns what became of his own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.client.outbox import BATCH, Outbox
from longboat.client.spool import Spool
from longboat.contract.broker import Token
from longboat.core.job import MESSAGE_VERSION, Job, State, new_id
from longboat.core.portions import BYTES
from longboat.errors import AppClosed, BrokerFull, BrokerUnavailable, ConfigError, unanswered


class Counting(MemoryBroker):
    """Tells how large its puts were; refuses those of a queue named "full"."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        self.sizes.append(len(jobs))
        if any(job.queue == "full" for job in jobs):
            raise BrokerFull("no room")
        return super().put(jobs, token=token)


def job(job_id: str = "", queue: str = "q") -> Job:
    return Job(MESSAGE_VERSION, job_id or new_id(), "t", b"\x80", queue)


def test_coroutines_calls_leave_in_one_put() -> None:
    broker = Counting()
    outbox = Outbox(broker)

    async def many(n: int) -> list[bool]:
        async def one() -> bool:
            return await outbox.aput(job())

        return await asyncio.gather(*[one() for _ in range(n)])

    assert asyncio.run(many(500)) == [True] * 500
    assert broker.sizes == [500]
    assert asyncio.run(many(BATCH + 1)) == [True] * (BATCH + 1)
    assert broker.sizes == [500, BATCH, 1]
    outbox.close()


class Gated(Counting):
    """Each put waits until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        self.sizes.append(len(jobs))
        assert self.gate.acquire(timeout=30.0)
        return MemoryBroker.put(self, jobs, token=token)


def test_whose_job_is_stored_does_not_wait_for_the_next_put() -> None:
    broker = Gated()
    outbox = Outbox(broker)

    def started(count: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=lambda: outbox.put(job())) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads

    def until(pending: int, puts: int) -> None:
        end = time.monotonic() + 10.0
        while (len(outbox._pending), len(broker.sizes)) != (pending, puts):
            assert time.monotonic() < end
            time.sleep(0.001)

    first = started(1)
    until(0, 1)
    second = started(8)
    until(8, 1)
    broker.gate.release()
    until(0, 2)
    third = started(8)
    until(8, 2)
    broker.gate.release()
    until(0, 3)  # the third put is under way
    for thread in [*first, *second]:
        thread.join(10.0)
        assert not thread.is_alive()
    assert broker.sizes == [1, 8, 8]
    broker.gate.release()
    for thread in third:
        thread.join(10.0)
    outbox.close()


def test_callers_that_call_again_at_once_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next put waits for who was told just now: else one of two calls, or of many, would have a put of its own."""
    monkeypatch.setattr("longboat.client.outbox.PATIENCE", 1e9)
    monkeypatch.setattr("longboat.client.outbox.LONGEST", 30.0)
    broker = Gated()
    outbox = Outbox(broker)

    def twice() -> None:
        outbox.put(job())
        outbox.put(job())

    first = threading.Thread(target=twice)
    first.start()
    while not broker.sizes:
        time.sleep(0.001)
    second = threading.Thread(target=lambda: outbox.put(job()))
    second.start()
    while not outbox._pending:
        time.sleep(0.001)
    broker.gate.release(2)
    for thread in (first, second):
        thread.join(20.0)
        assert not thread.is_alive()
    assert broker.sizes == [1, 2]
    outbox.close()


def test_of_two_calls_with_the_same_id_one_is_new() -> None:
    outbox = Outbox(MemoryBroker())

    async def both() -> list[bool]:
        return [*await asyncio.gather(outbox.aput(job("same")), outbox.aput(job("same")))]

    assert asyncio.run(both()) == [True, False]
    outbox.close()


def test_who_stops_waiting_takes_nothing_back() -> None:
    broker = MemoryBroker()
    outbox = Outbox(broker)

    async def impatient() -> None:
        given_up, kept = outbox.aput(job()), outbox.aput(job())
        given_up.cancel()
        assert await kept

    asyncio.run(impatient())
    outbox.close()
    assert dict(broker.inspector.counts()) == {("q", State.READY): 2}


def test_each_caller_raises_an_error_of_his_own() -> None:
    outbox = Outbox(Counting())

    async def refused() -> list[bool | BaseException]:
        return await asyncio.gather(*[outbox.aput(job(queue="full")) for _ in range(2)], return_exceptions=True)

    first, second = asyncio.run(refused())
    assert isinstance(first, BrokerFull)
    assert isinstance(second, BrokerFull)
    assert first is not second
    assert str(first) == "no room"
    with pytest.raises(BrokerFull, match="no room"):
        outbox.put(job(queue="full"))
    outbox.close()


class Peculiar(Exception):
    """An error of somebody's driver, whose constructor wants something else than its args."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


def test_a_refused_job_is_its_callers_error_alone() -> None:
    broker = Counting()
    outbox = Outbox(broker)

    async def three() -> list[object]:
        good, bad = [job(), job()], job(queue="x" * 256)
        return [*await asyncio.gather(*map(outbox.aput, [good[0], bad, good[1]]), return_exceptions=True)]

    first, refused, last = asyncio.run(three())
    assert (first, last) == (True, True)
    assert isinstance(refused, ConfigError)
    assert broker.sizes == [3, 1, 1, 1]
    assert broker.inspector.counts() == {("q", State.READY): 2}
    outbox.close()


def test_an_error_that_cannot_be_copied_reaches_every_caller_all_the_same() -> None:
    class Failing(MemoryBroker):
        def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:  # noqa: ARG002  # as its protocol has it
            raise Peculiar(7, "odd")

    outbox = Outbox(Failing())

    async def refused() -> list[bool | BaseException]:
        return await asyncio.gather(*[outbox.aput(job()) for _ in range(2)], return_exceptions=True)

    assert [str(error) for error in asyncio.run(refused())] == ["7: odd"] * 2
    with pytest.raises(Peculiar, match="odd"):
        outbox.put(job())
    outbox.close()


def test_loops_of_several_threads_share_an_outbox() -> None:
    broker = Counting()
    outbox = Outbox(broker)

    async def some() -> None:
        assert all(await asyncio.gather(*[outbox.aput(job()) for _ in range(50)]))

    threads = [threading.Thread(target=lambda: asyncio.run(some())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    outbox.close()
    assert dict(broker.inspector.counts()) == {("q", State.READY): 200}
    assert len(broker.sizes) < 100


def test_a_closed_outbox_refuses() -> None:
    outbox = Outbox(MemoryBroker())
    outbox.close()
    with pytest.raises(AppClosed, match="before this was stored"):
        outbox.put(job())

    async def late() -> bool:
        return await outbox.aput(job())

    with pytest.raises(AppClosed, match="before this was stored"):
        asyncio.run(late())


def test_a_put_has_so_many_bytes_at_most() -> None:
    broker = Counting()
    outbox = Outbox(broker)

    async def many(sizes: list[int]) -> None:
        await asyncio.gather(*[outbox.aput(Job(MESSAGE_VERSION, new_id(), "t", bytes(size), "q")) for size in sizes])

    asyncio.run(many([BYTES // 2] * 5))
    assert broker.sizes == [2, 2, 1]
    broker.sizes.clear()
    asyncio.run(many([10, BYTES // 2 - 20, BYTES // 2, BYTES // 2, 1]))
    assert broker.sizes == [3, 2]
    outbox.close()


class Losing(MemoryBroker):
    """Stores what is put, and loses its first answers."""

    def __init__(self, lost: int, *, unknown: bool = True) -> None:
        super().__init__()
        self.lost, self.unknown = lost, unknown
        self.puts = 0

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        self.puts += 1
        new = super().put(jobs, token=token) if self.unknown else []
        if self.puts <= self.lost:
            raise unanswered("no answer") if self.unknown else BrokerUnavailable("refused")
        return new


def test_a_put_whose_answer_was_lost_is_tried_again_before_anything_is_raised() -> None:
    broker = Losing(1)
    outbox = Outbox(broker)
    one = job()
    assert outbox.put(one)
    assert broker.puts == 2
    assert dict(broker.inspector.counts()) == {("q", State.READY): 1}

    broker.puts, broker.lost = 0, 2
    with pytest.raises(BrokerUnavailable, match=r"no answer\. It is not known whether job .* is stored") as caught:
        outbox.put(one)
    assert caught.value.unknown
    with pytest.raises(BrokerUnavailable, match=r"whether the 2 jobs from .* on are stored"):
        Outbox(Losing(2)).put_many([job(), job()])

    refusing = Losing(1, unknown=False)
    with pytest.raises(BrokerUnavailable, match=r"^refused$") as caught:
        Outbox(refusing).put(job())
    assert (refusing.puts, caught.value.unknown) == (1, False)


def test_a_second_try_that_is_refused_says_nothing_of_the_first() -> None:
    class Filling(Losing):
        def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
            if self.puts:
                raise BrokerFull("no room")
            return super().put(jobs, token=token)

    outbox = Outbox(Filling(1))
    with pytest.raises(BrokerUnavailable, match=r"no room\. It is not known whether job .* is stored") as caught:
        outbox.put(job())
    assert caught.value.unknown
    with pytest.raises(BrokerFull, match=r"^no room$"):
        outbox.put(job())


@pytest.mark.parametrize("unknown", [True, False])
def test_what_a_full_spool_refuses_may_have_arrived(unknown: bool, tmp_path: Path) -> None:
    broker = Losing(1, unknown=unknown)
    spool = Spool(f"sqlite:///{tmp_path}/spool.db?limit=1", broker)
    with pytest.raises(BrokerUnavailable, match="is full") as caught:
        Outbox(broker, spool=spool).put_many([job(), job()])
    assert (caught.value.unknown, "It is not known whether" in str(caught.value)) == (unknown, unknown)
    spool.close()
