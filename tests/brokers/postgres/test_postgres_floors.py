"""Claims pass over the rows of jobs that are gone, but over no job that is ready."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from longboat import connect
from longboat.brokers.postgres import floors
from longboat.brokers.postgres.claim import Claim, claim
from longboat.brokers.postgres.consumer import PostgresConsumer
from longboat.contract.broker import Broker, Lease, Settlement
from longboat.core.constraints import Constraints
from longboat.core.job import MESSAGE_VERSION, Dead, Done, Failure, Job, Outcome, Release, Retry, new_ids
from tests.rigs.servers.postgres import PostgresServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

GONE = 10_000
BATCH = 500
FEW = 100
"""Buffers of the index and the table that a claim of one job may look at, however many are gone."""
FAILURE = Failure("tests.Failed", "it fails")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres"), options=["autovacuum = off"]) as made:
        yield made


@pytest.fixture
def broker(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Broker]:
    with closing(connect(f"{server.url}?schema=s{abs(hash(request.node.name))}")) as made:
        made.inspector.counts()
        yield made


@pytest.fixture
def consumer(broker: Broker) -> Iterator[PostgresConsumer]:
    with closing(broker.consumer(["default"], lease=60)) as made:
        assert isinstance(made, PostgresConsumer)
        yield made


def jobs(n: int, **options: Any) -> list[Job]:
    return [Job(MESSAGE_VERSION, each, "t", b"\x90", **{"keep": 0.0, **options}) for each in new_ids(n)]


def gone(broker: Broker, consumer: PostgresConsumer, n: int) -> None:
    """So many jobs go through."""
    broker.put(jobs(n))
    while n:
        leases = consumer.receive(BATCH, wait=5)
        consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in leases])
        n -= len(leases)


def test_a_claim_looks_at_as_much_as_before_however_many_jobs_are_gone(
    server: PostgresServer, broker: Broker, consumer: PostgresConsumer
) -> None:
    """While some transaction holds back every vacuum."""
    with psycopg.connect(server.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")
        gone(broker, consumer, GONE)
        broker.put(jobs(2 * BATCH))
        consumer.receive(BATCH, wait=5)
        assert buffers(consumer) < FEW


def buffers(consumer: PostgresConsumer) -> int:
    """Those of a claim of one job, which is then undone."""
    store, claimer = consumer._store, consumer._claimer
    among = claimer.floors.ranges([b"default"])

    def explaining(conn: Any) -> int:
        with conn.transaction(force_rollback=True):
            explained = Explained(conn)
            claim(store, explained, Claim(consumer._n, 10**9, b"default"), 1, among)  # type: ignore[arg-type]
        return explained.buffers

    return store.use(explaining)


class Explained:
    """A connection that says what its statement looked at, and finds nothing."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.buffers = 0

    def query(self, text: bytes, values: Any) -> Any:
        ((plans,),) = self._conn.query(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + text, values).fetchall()
        [plan] = plans if isinstance(plans, list) else json.loads(plans)
        assert plan["Plan"]["Actual Rows"] == 1
        self.buffers += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        return self

    def fetchall(self) -> list[Any]:
        return []


# --- no job that is ready is passed over


@pytest.fixture
def rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Floors from the first job on, and no look below them unless something says so."""
    monkeypatch.setattr(floors, "_FROM", 0)
    monkeypatch.setattr(floors, "_EVERY", 1000.0)
    monkeypatch.setattr(floors, "_SHARE", 10**6)


def settled(outcome: Outcome) -> Callable[[Broker, PostgresConsumer, Lease], object]:
    return lambda _, consumer, lease: consumer.settle([Settlement(lease, outcome)])


def dead_and_retried(broker: Broker, consumer: PostgresConsumer, lease: Lease) -> None:
    consumer.settle([Settlement(lease, Dead(FAILURE))])
    broker.inspector.retry([lease.job.id])


WAYS: dict[str, Callable[[Broker, PostgresConsumer, Lease], object]] = {
    "released": settled(Release()),
    "to be tried again at once": settled(Retry(0.0, FAILURE)),
    "to be tried again soon": settled(Retry(0.05, FAILURE)),
    "dead and retried": dead_and_retried,
}


@pytest.mark.usefixtures("rare")
@pytest.mark.parametrize("back", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_what_comes_back_is_found_at_once(
    broker: Broker, consumer: PostgresConsumer, busy: bool, back: Callable[[Broker, PostgresConsumer, Lease], object]
) -> None:
    broker.put(jobs(2000 if busy else 2))
    [first] = consumer.receive(1, wait=5)
    consumer.receive(1, wait=5)
    looked = consumer._claimer.floors._began
    back(broker, consumer, first)
    assert found(consumer, first.job.id)
    assert consumer._claimer.floors._began == looked, "it took a look at everything"


@pytest.mark.usefixtures("rare")
def test_what_is_more_urgent_comes_first(broker: Broker, consumer: PostgresConsumer) -> None:
    broker.put(jobs(10))
    broker.put(jobs(1, priority=2))
    assert [lease.job.priority for lease in consumer.receive(3, wait=5)] == [2, 0, 0]
    broker.put(jobs(1, priority=1) + jobs(1, priority=2))
    assert [lease.job.priority for lease in consumer.receive(3, wait=5)] == [2, 1, 0]


@pytest.mark.usefixtures("rare")
def test_a_child_is_found_when_its_parent_has_succeeded(broker: Broker, consumer: PostgresConsumer) -> None:
    parent, other = jobs(2)
    [child] = jobs(1, constraints=Constraints(after=[parent.id]))
    broker.put([parent, child, other])
    leases = {lease.job.id: lease for lease in consumer.receive(2, wait=5)}
    assert leases.keys() == {parent.id, other.id}
    looked = consumer._claimer.floors._began
    consumer.settle([Settlement(leases[parent.id], Done(b"\xc0"))])
    assert found(consumer, child.id)
    assert consumer._claimer.floors._began == looked, "it took a look at everything"


def test_what_commits_late_is_found_while_later_jobs_keep_coming(
    server: PostgresServer, broker: Broker, consumer: PostgresConsumer
) -> None:
    """Nobody waits when it is put, so that nobody is told."""
    gone(broker, consumer, 2 * floors._FROM)
    broker.put(jobs(1))
    [late] = jobs(1)
    with psycopg.connect(server.url) as connection:
        broker.within(connection).put([late])  # type: ignore[attr-defined]  # what this adapter has of its own
        broker.put(jobs(5000))
        consumer.receive(BATCH, wait=5)
        consumer._waiter.connection().execute("UNLISTEN *")
    assert found(consumer, late.id)


@pytest.mark.usefixtures("rare")
@pytest.mark.parametrize("queues", [["a", "b"], []], ids=["named", "every"])
@pytest.mark.parametrize("more", [0, 2], ids=["alone", "with more"])
def test_what_commits_late_is_found_in_a_queue_that_a_look_did_not_reach(
    server: PostgresServer, broker: Broker, queues: list[str], more: int
) -> None:
    [late] = jobs(1, queue="b")
    with closing(broker.consumer(queues, lease=60)) as consumer:
        assert isinstance(consumer, PostgresConsumer)
        with psycopg.connect(server.url) as connection:
            broker.within(connection).put([late])  # type: ignore[attr-defined]  # what this adapter has of its own
            broker.put(jobs(3, queue="b"))
            assert len(consumer.receive(3, wait=5)) == 3
            consumer._waiter.connection().execute("UNLISTEN *")
        broker.put(jobs(2, queue="a") + jobs(more, queue="b"))
        looks = consumer._claimer.floors
        looks._began = -(10.0**12)  # it is time for a look at everything
        assert [lease.job.queue for lease in consumer.receive(1, wait=5)] == ["a"]
        began = looks._began
        assert late.id in [lease.job.id for _ in range(2) for lease in consumer.receive(1, wait=0.2)]
        assert looks._began == began > 0, "it was time for no other"


def test_a_poll_takes_the_queues_that_were_left_out_to_have_jobs(broker: Broker) -> None:
    broker.put(jobs(1, queue="b"))
    with closing(broker.consumer(["a", "b", "c"], lease=60)) as consumer:
        assert isinstance(consumer, PostgresConsumer)
        claimer, conn = consumer._claimer, consumer._waiter.connection()
        for owed, polled in [("", "b"), ("c", "bc"), ("abc", "abc")]:
            claimer.floors.owed = {each.encode() for each in owed}
            assert claimer.poll(conn).queues == [each.encode() for each in polled]


def test_a_look_that_was_held_up_puts_off_the_next_by_seconds() -> None:
    kept = floors.Floors()
    kept.looked(100.0, 160.0)
    assert not kept.due(102.0)
    assert kept.due(106.0)
    assert kept.pause(106.0) == 0


@pytest.mark.usefixtures("rare")
def test_the_lowest_place_of_all_notifications_lowers_the_floors() -> None:
    kept, place = floors.Floors(), 1 << floors.ROUND
    for queue in (b"a", b"b"):
        kept.claimed(queue, [(0, 9 * place)], 1)
    kept.heard([f"{floors.READY}{n * place}" for n in (7, 3, 5)] + [floors.LOOK])
    assert kept.ranges([b"a", b"b"]).places[1::2] == [3 * place] * 2
    kept.heard([f"{floors.READY}{place}", floors.READY])
    assert not kept


@pytest.mark.usefixtures("rare")
def test_a_consumer_of_ever_more_queues_keeps_few_floors() -> None:
    kept = floors.Floors()
    for n in range(1000):
        kept.claimed(b"%d" % n, [(0, 1)], 1)
        assert len(kept._floors) <= floors._QUEUES


def found(consumer: PostgresConsumer, job_id: str) -> bool:
    """Whether it comes before a queue of thousands is empty, or before an idle consumer would look anyway."""
    for _ in range(1500):
        leases = consumer.receive(1, wait=0.9)
        if any(lease.job.id == job_id for lease in leases):
            return True
        if not leases:
            return False
        time.sleep(0.005)  # looks at everything are five seconds apart at most, where one is held up
    return False
