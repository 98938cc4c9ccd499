"""A claim whose jobs could not all be read leaves none of them with nobody. Big messages are fetched beside it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from longboat.brokers.redis import RedisBroker
from longboat.brokers.redis.consumer import RedisConsumer
from longboat.brokers.redis.scripts import BIG
from longboat.contract.broker import Settlement
from longboat.core.clock import SYSTEM
from longboat.core.job import MESSAGE_VERSION, Done, Failure, Job, State, new_id, new_ids
from longboat.core.portions import BYTES
from longboat.errors import BrokerUnavailable
from tests.rigs.harnesses import NewRedis, unavailable


class Stage(NamedTuple):
    new: NewRedis
    broker: RedisBroker
    consumer: RedisConsumer

    def before_messages(self, do: Callable[[], None]) -> None:
        """Once, between the claim and the fetching of its messages: nothing else can be done at just this moment."""
        connection = self.consumer._connection
        whole = connection.command

        def command(*words: Any) -> Any:
            if words[0] == "HMGET":
                connection.command = whole  # type: ignore[method-assign]
                do()
            return whole(*words)

        connection.command = command  # type: ignore[method-assign]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    new = NewRedis(tmp_path, SYSTEM)
    broker = new.open()
    consumer = broker.consumer(["q"], lease=60.0)
    assert isinstance(broker, RedisBroker)
    assert isinstance(consumer, RedisConsumer)
    yield Stage(new, broker, consumer)
    consumer.close()
    broker.close()


def some(n: int, size: int = 5 * BIG, keep: float = 60.0) -> list[Job]:
    return [Job(MESSAGE_VERSION, each, "t", bytes(size), "q", keep=keep) for each in new_ids(n)]


def test_leases_are_given_again_when_the_line_breaks_before_their_messages_are_read(stage: Stage) -> None:
    good = Job(MESSAGE_VERSION, new_id(), "t", b"\x80", "q")
    stage.new.inject(b"no message", "q")
    stage.broker.put([good])
    server, whole = stage.consumer._server, stage.consumer._server.command

    def broken(*words: Any) -> Any:
        if words[0] == "HMGET":
            raise BrokerUnavailable("the line broke")
        return whole(*words)

    server.command = broken  # type: ignore[method-assign]  # a line cannot be cut at just this moment
    with pytest.raises(BrokerUnavailable, match="the line broke"):
        stage.consumer.receive(10, wait=0.0)
    server.command = whole  # type: ignore[method-assign]  # what is called is watched
    assert [lease.job for lease in stage.consumer.receive(10, wait=0.0)] == [good]
    assert dict(stage.broker.inspector.counts()) == {("q", State.RUNNING): 1, ("q", State.DEAD): 1}


def test_leases_of_big_messages_are_given_again_when_the_line_breaks_before_they_are_fetched(stage: Stage) -> None:
    jobs = some(30)
    stage.broker.put(jobs)

    def breaks() -> None:
        raise BrokerUnavailable("the line broke")

    stage.before_messages(breaks)
    with pytest.raises(BrokerUnavailable, match="the line broke"):
        stage.consumer.receive(100, wait=0.0)
    assert stage.broker.inspector.counts()["q", State.RUNNING] == 30
    assert [lease.job for lease in stage.consumer.receive(100, wait=0.0)] == jobs


def test_who_has_lost_its_leases_before_their_messages_are_fetched_harms_nobody(stage: Stage) -> None:
    """Some of the jobs run elsewhere meanwhile; one is forgotten, so its message is gone."""
    jobs = some(30, keep=0.0)
    stage.broker.put(jobs)
    other = stage.broker.consumer(["q"], lease=60.0)

    def lost() -> None:
        stage.broker.evict(stage.consumer.id, Failure("tests.Killed", "it was killed"))
        leases = other.receive(1, wait=0.0)
        assert other.settle([Settlement(lease, Done(b"\xc0")) for lease in leases]) == []

    stage.before_messages(lost)
    stale = stage.consumer.receive(100, wait=0.0)
    assert [lease.job for lease in stale] == jobs[1:]
    assert stage.consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in stale]) == stale
    assert dict(stage.broker.inspector.counts()) == {("q", State.READY): 29}
    assert [lease.job for lease in other.receive(100, wait=0.0)] == jobs[1:]
    other.close()


def test_a_job_that_is_cancelled_before_its_message_is_fetched_is_told(stage: Stage) -> None:
    jobs = some(30)
    stage.broker.put(jobs)

    def cancels() -> None:
        stage.broker.inspector.cancel([jobs[3].id])

    stage.before_messages(cancels)
    assert [lease.job for lease in stage.consumer.receive(100, wait=0.0)] == jobs
    assert stage.consumer.extend().cancelled == [jobs[3].id]
    assert sorted(stage.broker.inspector.cancel([each.id for each in jobs])) == [
        each.id for each in jobs if each is not jobs[3]
    ]
    told = stage.consumer._server.call("extend", stage.consumer.id, "60.0")
    assert {len(each) for each in told} == {12}, "messages pass through no heartbeat"
    assert sorted(stage.consumer.extend().cancelled) == [each.id for each in jobs]


def test_messages_of_all_sizes_come_in_order_and_by_bytes(stage: Stage) -> None:
    chance = random.Random(3)
    jobs = [each for _ in range(60) for each in some(chance.randint(1, 20), chance.choice((1, BIG - 90, BIG, 9_000)))]
    jobs += some(40, 300_000)
    jobs += some(40, 1)
    for start in range(0, len(jobs), 50):
        stage.broker.put(jobs[start : start + 50])
    seen: list[Job] = []
    while leases := stage.consumer.receive(100, wait=0.0):
        seen += [lease.job for lease in leases]
        sizes = [len(lease.job.payload) for lease in leases]
        assert sum(sizes) <= BYTES + 8 * 300_000, "a claim that met bigger messages than before took too many"
    assert seen == jobs


def test_many_big_jobs_are_looked_up_and_changed_in_several_calls(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = some(24, 300_000)
    for start in range(0, len(jobs), 6):
        stage.broker.put(jobs[start : start + 6])
    sizes, looked_at, call = [], [], stage.broker._server.call

    def weighed(name: str, *values: Any, **options: Any) -> Any:
        answer = call(name, *values, **options)
        if name == "find":
            sizes.append(sum(len(each[1]) for each in answer if each))
        elif name in ("cancel", "retry"):
            looked_at.append(answer[0])
        return answer

    monkeypatch.setattr(stage.broker._server, "call", weighed)
    asked = [jobs[0].id, "unknown", *[each.id for each in jobs[1:]]]
    found = stage.broker.inspector.find(asked)
    assert [view and view.id for view in found] == [jobs[0].id, None, *asked[2:]]
    assert [view.id for view in stage.broker.inspector.jobs(State.READY).jobs] == [each.id for each in jobs]
    assert max(sizes) <= BYTES + 400_000
    assert stage.broker.results.get(asked) == [None] * 25
    assert stage.broker.inspector.cancel(asked) == [each.id for each in jobs]
    assert stage.broker.inspector.retry(asked) == []
    assert sum(looked_at) == 50
    assert looked_at[0] < 12
