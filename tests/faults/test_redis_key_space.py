"""What stays on a Redis server once all jobs are gone and everybody has left: nothing but what keeps ids from use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from longboat.brokers.redis import RedisBroker
from longboat.contract.broker import Settlement
from longboat.contract.kv import Entry
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Cancelled, Dead, Done, Job, Outcome, Park, Release, Retry, State
from longboat.testing.clock import FakeClock
from tests.rigs.redis import NOBODY, RESULT, drain, is_bare, jobs, keys_of
from tests.rigs.servers.redis import RedisServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

FOR_EVER = 40 * 86400.0
OUTCOMES: list[Outcome] = [
    Done(RESULT),
    Retry(5.0, NOBODY),
    Retry(0.0, NOBODY),
    Release(),
    Release(5.0),
    Park(5.0, NOBODY),
    Park(1e6, NOBODY),
    Dead(NOBODY),
    Dead(NOBODY, counted=False),
    Cancelled(NOBODY),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as made:
        yield made


def run_what_is_there(broker: RedisBroker, *, tasks: tuple[str, ...] = ()) -> None:
    """A consumer of every queue comes, runs all that is ready, and leaves."""
    consumer = broker.consumer([], lease=10, tasks=tasks)
    while leases := consumer.receive(50, wait=0):
        consumer.settle([Settlement(lease, Done(RESULT)) for lease in leases])
    consumer.wake()
    consumer.close()
    consumer.wake()


def what_is_tied(broker: RedisBroker, clock: FakeClock) -> None:
    """Jobs after others, at limits, by turns; some end well, some are cancelled, expire, die, or wait for ever."""
    limits = [JobLimit("one", running=1), JobLimit("rate", starts=2, per=2.0)]
    [parent, lost] = jobs(2, queue="tied")
    flow = Constraints("f", after=[parent.id])
    batch = [
        parent,
        *jobs(4, queue="tied", constraints=flow, expires=50.0),
        *jobs(2, queue="tied", constraints=flow, delay=1.0),
        lost,
    ]
    batch += jobs(3, queue="tied", constraints=Constraints("f", after=[batch[1].id, lost.id, parent.id]))
    batch += [
        job for limit in limits for job in jobs(6, queue="tied", constraints=Constraints(limits=[limit]), expires=50.0)
    ]
    batch += jobs(3, queue="tied", constraints=Constraints(limits=limits), keep=0)
    batch += [
        job
        for fairness_key in "aab"
        for job in jobs(3, queue="tied", constraints=Constraints(fairness_key=fairness_key, limits=limits[:1]))
    ]
    batch += jobs(3, queue="tied", constraints=Constraints(fairness_key="b"), delay=3.0) + jobs(
        2, queue="tied", constraints=Constraints(fairness_key="c", after=[lost.id])
    )
    ids = broker.put(batch)
    consumer = broker.consumer(["tied"], lease=10)
    outcomes = {lost.id: Dead(NOBODY)}
    for seconds in range(6):
        leases = consumer.receive(7, wait=0)
        ends = [Settlement(lease, outcomes.get(lease.job.id, Done(RESULT))) for lease in leases[:5]]
        assert consumer.settle(ends) == []
        broker.inspector.cancel(ids[5 + seconds :: 6][:2])
        clock.advance(1)
        assert consumer.extend().alive
    views = [view for view in broker.inspector.limits(["one", "rate"]) if view]
    assert sum(view.waiting for view in views) > 0
    assert broker.inspector.counts()["tied", State.WAITING] > 0
    consumer.close()


def notes_and_pauses(broker: RedisBroker) -> None:
    entries = [Entry("a", b"1", 5.0), Entry("b", b"", 1e6), Entry("c", b"1"), Entry("d", b"1", 5.0)]
    broker.kv.write("s", entries)
    broker.kv.put_if_absent("s", entries)
    assert broker.kv.compare_and_set("s", Entry("d", b"2"), old=b"1")
    broker.kv.write("s", [Entry("c", None), Entry("d", None), Entry("e", None)])
    consumers = [broker.consumer([], lease=10) for _ in range(3)]
    for consumer in consumers:
        consumer.pause(["tied", "default"], ["work"])
        consumer.receive(1, wait=0)
    consumers[0].pause(["default"], [])
    consumers[1].pause([], [])
    broker.put(jobs(2) + jobs(2, queue="third"))
    for consumer in consumers:
        consumer.close()


def everything_happens(broker: RedisBroker, clock: FakeClock) -> None:
    listener, other = broker.results.listen(), broker.results.listen()
    batch = [job for prio in (0, 5, -1) for job in jobs(20, priority=prio)]
    batch += jobs(3, delay=5.0) + jobs(3, expires=3.0) + jobs(3, delay=5.0, expires=3.0) + jobs(3, queue="second", keep=0)
    batch += [Job(1, f"chosen-{n}", "work", b"\x80", queue="second") for n in range(3)]
    ids = broker.put(batch)
    listener.watch(ids[:40])
    other.watch(ids[20:60])
    listener.forget(ids[:5])
    broker.inspector.cancel([*ids[50:53], *ids[60:62], "chosen-2"])
    first, dead = broker.consumer(["default"], lease=10), broker.consumer(["default"], lease=3, tasks=["work"])
    leases, lost = first.receive(20, wait=0), dead.receive(10, wait=0)
    dead.settle([], started=lost[:5])
    broker.inspector.cancel([lease.job.id for lease in (*lost[:2], leases[-1])])
    outcomes = [Settlement(lease, outcome) for lease, outcome in zip(leases, OUTCOMES * 2, strict=True)]
    assert first.settle(outcomes[:10], started=leases[10:]) == []
    assert first.settle(outcomes[10:]) == []
    clock.advance(4)
    assert first.extend().alive
    broker.tidy(1.0)
    assert not dead.extend().alive
    dead.wake()
    dead.close()
    evicted = broker.consumer([], lease=10)
    held = evicted.receive(5, wait=0)
    evicted.settle([], started=held[:2])
    assert broker.evict(evicted.id, NOBODY) == 5
    assert evicted.settle([Settlement(lease, Done(RESULT)) for lease in held]) == held
    evicted.close()
    clock.advance(3)
    run_what_is_there(broker)
    died = [view.id for view in broker.inspector.jobs(State.DEAD).jobs]
    assert broker.inspector.retry(died) == died
    again = first.receive(1, wait=0)
    first.settle([Settlement(again[0], Retry(100.0, NOBODY))])
    first.close()
    listener.wait(0)
    listener.close()
    other.close()


@pytest.mark.parametrize("end", ["run and pruned", "purged"])
def test_nothing_stays(end: str, server: RedisServer) -> None:
    server.command("FLUSHALL")
    clock = FakeClock()
    broker = RedisBroker(server.url, clock=clock)
    everything_happens(broker, clock)
    what_is_tied(broker, clock)
    notes_and_pauses(broker)
    if end == "purged":
        while broker.inspector.purge(set(State) - {State.RUNNING}, limit=7):
            pass
        run_what_is_there(broker)  # it finds nothing but the places of what was purged
    else:
        run_what_is_there(broker, tasks=("work",))
        clock.advance(200)
        run_what_is_there(broker, tasks=("work",))
    stay = [view.id for view in broker.inspector.jobs(State.WAITING, limit=1000).jobs]
    assert broker.inspector.cancel(stay) == stay, "what comes after one that died would wait for ever"
    for _ in range(2):  # first the jobs' time is over, and then that of their ids
        clock.advance(FOR_EVER)
        while broker.inspector.prune(limit=100):
            pass
    assert broker.inspector.counts() == {}
    assert broker.inspector.consumers() == []
    is_bare(server)
    assert "remembered" not in keys_of(server), "their time is over, too"
    broker.close()


@pytest.mark.parametrize("keep", [0.0, 5.0])
@pytest.mark.parametrize("kind", ["after", "limits", "turn"])
def test_nothing_stays_of_one_kind_of_constraints(kind: str, keep: float, server: RedisServer) -> None:
    server.command("FLUSHALL")
    clock = FakeClock()
    broker = RedisBroker(server.url, clock=clock)
    [first] = jobs(1, keep=keep)
    kinds = {
        "after": Constraints(after=[first.id]),
        "limits": Constraints(limits=[JobLimit("two", 2, 2, 5.0)]),
        "turn": Constraints(fairness_key="a"),
    }
    ids = broker.put([first, *jobs(7, constraints=kinds[kind], keep=keep)])
    consumer = broker.consumer(["default"], lease=100)
    ran: list[str] = []
    while len(ran) < len(ids):
        leases = consumer.receive(10, wait=0)
        consumer.settle([Settlement(lease, Done(RESULT)) for lease in leases])
        ran += [lease.job.id for lease in leases]
        clock.advance(5)
    consumer.close()
    assert sorted(ran) == sorted(ids)
    clock.advance(10)
    broker.inspector.prune()
    is_bare(server)
    broker.close()


def test_chosen_ids_stay_for_a_day(server: RedisServer) -> None:
    server.command("FLUSHALL")
    broker = RedisBroker(server.url)
    consumer = broker.consumer(["default"], lease=10)
    broker.put([Job(1, "chosen", "work", b"\x80", keep=0)])
    assert drain(broker, consumer, 1) == ["chosen"]
    consumer.close()
    is_bare(server)
    assert "remembered" in keys_of(server)
    assert broker.put([Job(1, "chosen", "work", b"\x80")]) == []
    broker.close()
