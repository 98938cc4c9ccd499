"""Constraints on PostgreSQL: races of callers and workers, and callers' own transactions."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from longboat.contract.broker import Settlement
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import MESSAGE_VERSION, Done, Job, State, new_id
from longboat.errors import UnknownParent
from tests.rigs.harnesses import NewPostgres
from tests.rigs.servers.postgres import available

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

psycopg = pytest.importorskip("psycopg")
limits = pytest.importorskip("longboat.brokers.postgres.limits")


@pytest.fixture
def store(tmp_path: Path) -> NewPostgres:
    return NewPostgres(tmp_path, SYSTEM)


@pytest.fixture
def broker(store: NewPostgres) -> Iterator[Any]:
    made = store.open()
    yield made
    made.close()


def job(constraints: Constraints | None = None, **fields: Any) -> Job:
    return Job(MESSAGE_VERSION, new_id(), "t", b"\x80", constraints=constraints, **fields)


def after(*parents: Job) -> Constraints:
    return Constraints(after=[parent.id for parent in parents])


def done(consumer: Any, leases: Any, result: bytes = b"\xc0") -> None:
    assert consumer.settle([Settlement(lease, Done(result)) for lease in leases]) == []


@pytest.mark.parametrize("keep", [3600.0, 0.0])
def test_a_job_put_while_its_parent_is_settled_is_never_left_behind(broker: Any, keep: float) -> None:
    consumer, others = broker.consumer(["default"], lease=60), broker.consumer(["children"], lease=60)
    both = threading.Barrier(2)

    def put(child: Job) -> bool:
        both.wait(5)
        try:
            return bool(broker.put([child]) == [child.id])
        except UnknownParent:
            assert keep == 0.0, "a job whose result is kept was not known"
            return False

    with ThreadPoolExecutor(1) as threads:
        for turn in range(120):
            broker.put([parent := job(keep=keep)])
            [lease] = consumer.receive(1, wait=5)
            child = job(after(parent), queue="children")
            putting = threads.submit(put, child)
            both.wait(5)
            done(consumer, [lease], b"\x01")
            if putting.result(5):
                leases = others.receive(1, wait=5)
                assert [(lease.job.id, list(lease.inputs)) for lease in leases] == [(child.id, [b"\x01"])], f"round {turn}"
                done(others, leases)
    assert broker._store.call("SELECT count(*) FROM @.dependencies") == [(0,)]
    consumer.close()
    others.close()


def test_a_settlement_waits_for_a_put_of_dependents(broker: Any, store: NewPostgres) -> None:
    """Whose transaction is still open: the settlement cannot see what it stores."""
    parent = job()
    broker.put([parent])
    consumer = broker.consumer(["default"], lease=60)
    [lease] = consumer.receive(1, wait=5)
    with psycopg.connect(store.server.url) as connection, ThreadPoolExecutor(1) as threads:
        broker.within(connection).put([child := job(after(parent))])
        settling = threads.submit(done, consumer, [lease], b"\x05")
        deadline = time.monotonic() + 5
        while store.server.query("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0":
            assert time.monotonic() < deadline
        connection.commit()
        settling.result(5)
    [lease] = consumer.receive(1, wait=5)
    assert (lease.job.id, list(lease.inputs)) == (child.id, [b"\x05"])
    consumer.close()


@pytest.mark.parametrize("autocommit", [False, True])
def test_what_is_refused_within_a_caller_s_transaction_leaves_nothing(
    broker: Any, store: NewPostgres, autocommit: bool
) -> None:
    with psycopg.connect(store.server.url, autocommit=autocommit) as connection:
        first = job(Constraints(limits=[JobLimit("g", 1)]))
        assert broker.within(connection).put([first]) == [first.id]
        with pytest.raises(UnknownParent):
            broker.within(connection).put([job(), job(after(job()))])
        assert broker.within(connection).put([second := job(after(first))]) == [second.id]
        if not autocommit:
            assert broker.inspector.counts() == {}
            connection.commit()
    assert broker.inspector.counts() == {("default", State.READY): 1, ("default", State.WAITING): 1}


def test_limits_hold_for_many_workers_without_deadlocks(broker: Any, store: NewPostgres) -> None:
    keys = [JobLimit(f"k{n}", running=2) for n in range(4)]
    count = 120
    for _ in range(count):
        broker.put([job(Constraints(limits=random.sample(keys, 2)))])
    before = store.server.query("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")
    held: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def work() -> int:
        mine = store.open()
        consumer = mine.consumer(["default"], lease=60)
        ended, idle = 0, time.monotonic()
        while time.monotonic() - idle < 1.0:
            leases = consumer.receive(3, wait=0.2)
            names = [limit.key for lease in leases for limit in (lease.job.constraints or Constraints()).limits]
            with lock:
                held.update(names)
                most.update({name: max(0, held[name] - most[name]) for name in names})
            consumer.extend()
            with lock:
                held.subtract(names)
            done(consumer, leases)
            ended += len(leases)
            idle = time.monotonic() if leases else idle
        consumer.close()
        mine.close()
        return ended

    with ThreadPoolExecutor(5) as threads:
        workers = [threads.submit(work) for _ in range(5)]
        assert sum(worker.result(60) for worker in workers) == count
    assert max(most.values()) <= 2
    assert store.server.query("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'") == before
    broker._store.write(limits.forget)
    for table in ("limits", "holders", "blocked", "starts"):
        assert broker._store.call(f"SELECT count(*) FROM @.{table}") == [(0,)], table


def test_a_claim_goes_on_past_thousands_of_blocked_jobs(broker: Any) -> None:
    shut = [job(Constraints(limits=[JobLimit("g", running=1)])) for _ in range(2500)]
    broker.put(shut)
    broker.put([free := job()])
    consumer = broker.consumer(["default"], lease=60)
    received: list[str] = []
    while len(received) < 2:
        leases = consumer.receive(2, wait=10)
        assert leases
        received += [lease.job.id for lease in leases]
    assert received == [shut[0].id, free.id]
    assert broker.inspector.counts() == {("default", State.WAITING): 2499, ("default", State.RUNNING): 2}
    consumer.close()


def test_a_million_keys_could_have_jobs_in_one_round(broker: Any) -> None:
    """A job whose place is taken gets the next one."""
    broker.put([first := job(Constraints(fairness_key="a"))])
    rows = broker._store.call("SELECT place FROM @.jobs")
    later = (rows[0][0] >> 20 << 20) + (1 << 40)
    broker._store.call("SELECT setval('@.places', %(later)s, FALSE)", later=later)
    broker.put([second := job(Constraints(fairness_key="b"))])
    places = [place for (place,) in broker._store.call("SELECT place FROM @.jobs ORDER BY place")]
    assert len({place >> 20 for place in places}) == 1
    consumer = broker.consumer([], lease=60)
    assert {lease.job.id for lease in consumer.receive(2, wait=5)} == {first.id, second.id}
    consumer.close()
