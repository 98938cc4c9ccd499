"""Bytes damaged on the server, of one job beside good ones: it is dead with the reason, and nobody else comes to harm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from longboat.brokers.redis import RedisBroker
from longboat.brokers.redis.keys import key_of
from longboat.contract.broker import Settlement
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import MESSAGE_VERSION, Done, Failure, Job, Park, Retry, State, new_id
from longboat.core.reasons import UNDECODABLE
from tests.rigs.harnesses import NewRedis, unavailable

pack = msgspec.msgpack.encode
HISTORIES = [
    b"",
    b"\xc1",
    b"\x93",
    b"\x91" * 2000,
    pack({}),
    pack([]),
    pack(["x", 0, []]),
    pack([1, None, []]),
    pack([1, 1, 5]),
]
LIMITS = [b"", b"\xc1", b"\x93", b"\x91" * 2000, pack(5), pack([5]), pack([["g"]]), pack([["g", 1, "x", 1.0]])]
LIMITS += [pack([["g", False, 1, float("nan")]]), pack([[None, 1, False, 0.0]])]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[NewRedis, RedisBroker]]:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    new = NewRedis(tmp_path, SYSTEM)
    made = new.open()
    assert isinstance(made, RedisBroker)
    yield new, made
    made.close()


def job(constraints: Constraints | None = None) -> Job:
    return Job(MESSAGE_VERSION, new_id(), "t", b"\x80", "q", constraints=constraints)


def damage(new: NewRedis, what: str, job_id: str, raw: bytes) -> None:
    new.server.command("HSET", f"{{{new.prefix}}}:{what}", key_of(job_id), raw)


def test_a_damaged_history(store: tuple[NewRedis, RedisBroker]) -> None:
    new, broker = store
    bad, good = [job() for _ in HISTORIES], [job(), job()]
    broker.put([good[0], *bad, good[1]])
    consumer = broker.consumer(["q"], lease=60.0)
    for lease in consumer.receive(100, wait=0.0):
        consumer.settle([Settlement(lease, Retry(0.0, Failure("E", "m")))])
    for each, raw in zip(bad, HISTORIES, strict=True):
        damage(new, "history", each.id, raw)
    assert [view and view.state for view in broker.inspector.find([each.id for each in bad])] == [State.READY] * len(bad)
    leases = consumer.receive(100, wait=0.0)
    assert [lease.job.id for lease in leases] == [each.id for each in good]
    assert [lease.attempt for lease in leases] == [2, 2]
    for view in broker.inspector.find([each.id for each in bad]):
        assert view is not None
        assert (view.state, view.payload, view.failures[-1].type) == (State.DEAD, b"\x80", UNDECODABLE)
    assert consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in leases]) == []
    assert len(broker.inspector.retry([each.id for each in bad])) == len(bad)
    assert len(consumer.receive(100, wait=0.0)) == len(bad)
    for each, raw in zip(bad, HISTORIES, strict=True):  # once more, while they are leased
        damage(new, "history", each.id, raw)
    consumer.close()
    assert broker.inspector.counts()["q", State.READY] == len(bad)
    assert len(broker.inspector.cancel([each.id for each in bad])) == len(bad)


def test_damaged_limits(store: tuple[NewRedis, RedisBroker]) -> None:
    """Their numbers stand in the message, too: without the damaged ones a job is limited by nothing."""
    new, broker = store
    one = Constraints(limits=[JobLimit("g", running=1)])
    bad, good = [job(one) for _ in LIMITS], [job(one), job(one)]
    broker.put([good[0], *bad, good[1]])
    first = broker.consumer(["q"], lease=60.0)
    [lease] = first.receive(1, wait=0.0)
    for each, raw in zip(bad[1:], LIMITS[1:], strict=True):
        damage(new, "limits", each.id, raw)
    leases = first.receive(100, wait=0.0)
    assert [each.job.id for each in leases] == [each.id for each in bad[1:]]
    damage(new, "limits", bad[0].id, LIMITS[0])  # this one is blocked
    assert first.settle([Settlement(each, Done(b"\xc0")) for each in [lease, *leases]]) == []
    assert broker.inspector.limits(["g"]) is not None
    assert [each.job.id for each in first.receive(100, wait=1.0)] == [bad[0].id, good[1].id]
    first.close()


@pytest.mark.parametrize("raw", [b"", b"\xff", b"s", b"d" + b"\0" * 9, b"s" + b"\xff" * 28])
def test_a_damaged_end(raw: bytes, store: tuple[NewRedis, RedisBroker]) -> None:
    """It is shown as such, and its page has the others."""
    new, broker = store
    bad, good = job(), job()
    broker.put([bad, good])
    consumer = broker.consumer(["q"], lease=60.0)
    consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in consumer.receive(2, wait=0.0)])
    damage(new, "done", bad.id, raw)
    assert good.id in [view.id for view in broker.inspector.jobs(State.SUCCEEDED).jobs]
    shown, other = broker.inspector.find([bad.id, good.id])
    assert shown is not None
    assert other is not None
    assert other.state is State.SUCCEEDED
    assert [failure.type for failure in shown.failures] in ([UNDECODABLE], [])
    assert len([each for each in broker.results.get([good.id, bad.id]) if each]) >= 1
    consumer.close()


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"z" * 40])
@pytest.mark.parametrize("what", ["parked_info", "placed", "pending", "fairness_of", "fairness:0:q"])
def test_damage_to_what_waits(what: str, raw: bytes, store: tuple[NewRedis, RedisBroker]) -> None:
    """Jobs that are parked, delayed, come after others and take turns: good ones are received, and all can be looked at."""
    new, broker = store
    broker.put([parked := job(), parent := job()])
    first = broker.consumer(["q"], lease=60.0)
    leases = first.receive(2, wait=0.0)
    first.settle([Settlement(leases[0], Park(60.0, Failure("E", "m")))])
    delayed = Job(MESSAGE_VERSION, new_id(), "t", b"\x80", "q", delay=0.2)
    child, fair = job(Constraints(after=[parent.id])), job(Constraints(fairness_key="a"))
    broker.put([delayed, child, fair, good := job()])
    waiting = [parked, delayed, child, fair]
    for each in waiting:
        if what.endswith(":q"):
            new.server.command("HSET", f"{{{new.prefix}}}:{what}", "a", raw)
        elif new.server.command("HEXISTS", f"{{{new.prefix}}}:{what}", key_of(each.id)):
            damage(new, what, each.id, raw)
    for state in State:
        broker.inspector.jobs(state)
    assert all(broker.inspector.find([each.id for each in waiting]))
    assert first.settle([Settlement(leases[1], Done(b"\xc0"))]) == []
    time.sleep(0.2)
    knows = broker.consumer(["q"], lease=60.0, tasks=["t"])
    got = [lease for _ in range(4) for lease in knows.receive(9, wait=0.1)]
    assert good.id in {lease.job.id for lease in got}
    assert knows.settle([Settlement(lease, Done(b"\xc0")) for lease in got]) == []
    broker.tidy(0.1)
    ended = {view.id: view for view in broker.inspector.find([each.id for each in waiting]) if view and view.state.ended}
    assert all(view.failures[-1].type == UNDECODABLE for view in ended.values() if view.state is State.DEAD)
    assert len(ended) >= len(waiting) - (what in ("placed", "pending"))
    first.close()
    knows.close()
