"""Constraints in rows: what they cost, and what is left of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker, limits
from longboat.brokers.sqlite.prune import FAIRNESS_KEYS_KEPT
from longboat.brokers.sqlite.store import Store
from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Cancelled, Done, Failure, Job, Outcome, State
from longboat.errors import UnknownParent
from longboat.testing.clock import FakeClock

Make = Callable[..., Job]
ONE = JobLimit("one", running=1)
RATE = JobLimit("rate", starts=1, per=5.0)
TABLES = ["dependencies", "inputs", "pending", "limit_usage", "limit_openings", "waiting", "leased"]


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def settle(consumer: Consumer, lease: Lease, outcome: Outcome | None = None) -> None:
    assert consumer.settle([Settlement(lease, outcome or Done(b"\xc0"))]) == []


def after(make: Make, *parents: Job, **fields: object) -> Job:
    return make(constraints=Constraints(after=[parent.id for parent in parents]), **fields)


def limited(make: Make, *limits: JobLimit, **fields: object) -> Job:
    return make(constraints=Constraints(limits=list(limits)), **fields)


def test_a_parent_that_is_known_may_stand_anywhere_in_the_batch(broker: SqliteBroker, job: Make) -> None:
    parent, other = job(), job()
    assert broker.put([parent]) == [parent.id]
    assert broker.put([child := after(job, parent), parent]) == [child.id]
    assert broker.put([other, second := after(job, other), other]) == [other.id, second.id]
    assert broker.put([second, other]) == []
    with pytest.raises(UnknownParent, match="behind"):
        broker.put([after(job, late := job()), late])
    assert broker.inspector.find([late.id]) == [None]


def test_nothing_is_left_of_constraints_when_all_is_over(path: Path, job: Make) -> None:
    clock = FakeClock()
    broker = SqliteBroker(path, clock=clock)
    parent = job(keep=0.0)
    children = [after(job, parent, queue="later") for _ in range(4)]
    broker.put([parent, *children, *[limited(job, ONE, RATE, queue="limited") for _ in range(3)]])
    broker.inspector.cancel([children[0].id])
    assert rows(path, "SELECT count(*) FROM longboat_dependencies") == [(3,)]
    consumer = broker.consumer([], lease=1000)
    for _ in range(4):
        while leases := consumer.receive(10, wait=0):
            for lease in leases:
                cancelled = Cancelled(Failure("E", "no more")) if lease.job.id == children[1].id else None
                settle(consumer, lease, cancelled)
        clock.advance(5.1)
        broker.tidy(5.0)
    assert {name: rows(path, f"SELECT count(*) FROM longboat_{name}")[0] for name in TABLES} == dict.fromkeys(TABLES, (0,))
    assert broker.inspector.counts() == {
        ("later", State.SUCCEEDED): 2,
        ("later", State.CANCELLED): 2,
        ("limited", State.SUCCEEDED): 3,
    }
    consumer.close()
    broker.close()


def test_unblocking_looks_at_the_first_blocked_job_alone(broker: SqliteBroker, path: Path, job: Make) -> None:
    """SQLite makes as many steps to unblock the next job where 5,000 wait as where 20 do."""
    store = Store(str(path), "full", SYSTEM, 2.0)
    steps: list[int] = []
    for waiting in (20, 5000):
        consumer = broker.consumer([], lease=60)
        broker.put([limited(job, ONE) for _ in range(waiting + 1)])
        (lease,) = consumer.receive(1, wait=0)
        while ("default", State.READY) in broker.inspector.counts():
            assert consumer.receive(1000, wait=0) == []
        with store.write() as tx:
            tx.run("DELETE FROM longboat_limit_usage")
            tx.db.set_progress_handler(lambda: steps.append(waiting), 10)  # noqa: B023  # it is called at once
            assert limits.unblock(tx, "one") == 1
            tx.db.set_progress_handler(None, 0)
        settle(consumer, lease)
        broker.inspector.purge({State.READY, State.WAITING}, limit=10_000)
        consumer.close()
    store.close()
    assert 0 < steps.count(5000) <= 1.5 * steps.count(20)


def test_a_job_behind_very_many_blocked_ones_is_received_soon(broker: SqliteBroker, job: Make) -> None:
    """One claim looks at a bounded number, and a receive that waits goes on at once, not after eight naps of 0.5 s."""
    broker.put([limited(job, ONE) for _ in range(4000)])
    broker.put([plain := job()])
    consumer = broker.consumer(["default"], lease=60)
    assert len(consumer.receive(1, wait=0)) == 1
    assert consumer.receive(1, wait=0) == []
    began = SYSTEM.monotonic()
    assert [lease.job.id for lease in consumer.receive(1, wait=10)] == [plain.id]
    assert SYSTEM.monotonic() - began < 2.5
    assert broker.inspector.counts() == {("default", State.WAITING): 3999, ("default", State.RUNNING): 2}
    consumer.close()


def test_time_unblocks_the_next_while_the_one_before_still_runs(path: Path, job: Make) -> None:
    clock = FakeClock()
    broker = SqliteBroker(path, clock=clock)
    broker.put(sent := [limited(job, RATE) for _ in range(4)])
    consumer = broker.consumer([], lease=1000)
    received = [lease.job.id for lease in consumer.receive(4, wait=0)]
    for _ in sent[1:]:
        clock.advance(4.9)
        assert consumer.receive(4, wait=0) == []
        clock.advance(0.2)
        received += [lease.job.id for lease in consumer.receive(4, wait=0)]
    assert received == [each.id for each in sent]
    consumer.close()
    broker.close()


def test_a_limit_with_unused_room_is_found_among_very_many(path: Path, job: Make) -> None:
    clock = FakeClock()
    broker = SqliteBroker(path, clock=clock)
    full = [limited(job, JobLimit(f"a{n:04}", running=1)) for n in range(limits.KEYS_AT_ONCE + 50) for _ in range(2)]
    broker.put([*full, *(last := [limited(job, JobLimit("z", running=1)) for _ in range(3)])])
    consumer = broker.consumer([], lease=1000)
    leases = consumer.receive(len(full), wait=0)
    settle(consumer, leases[-1])
    broker.inspector.cancel([last[1].id])  # it had been unblocked, and took the room that there is
    received = []
    for _ in range(2):
        clock.advance(1.0)
        broker.tidy(5.0)
        received += consumer.receive(10, wait=0)
    assert [lease.job.id for lease in received] == [last[2].id]
    consumer.close()
    broker.close()


def test_a_bad_message_first_among_blocked_jobs_holds_up_nobody(broker: SqliteBroker, path: Path, job: Make) -> None:
    broker.put(sent := [limited(job, ONE) for _ in range(4)])
    consumer = broker.consumer([], lease=60)
    (lease,) = consumer.receive(4, wait=0)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE longboat_jobs SET message = x'00' WHERE id = ?", (sent[1].id,))
        db.commit()
    settle(consumer, lease)
    assert broker.inspector.counts()["default", State.WAITING] == 2
    received: list[Lease] = []
    while not received:
        broker.tidy(5.0)
        received = consumer.receive(4, wait=0.2)
    assert [lease.job.id for lease in received] == [sent[2].id]
    assert broker.inspector.counts()["default", State.DEAD] == 1
    consumer.close()


def test_starts_of_jobs_whose_starts_nobody_counts_do_not_count(broker: SqliteBroker, job: Make) -> None:
    consumer = broker.consumer([], lease=60)
    broker.put([limited(job, JobLimit("k", running=9)) for _ in range(3)])
    assert len(consumer.receive(3, wait=0)) == 3
    broker.put([limited(job, JobLimit("k", starts=1, per=60.0)) for _ in range(2)])
    assert len(consumer.receive(2, wait=0)) == 1
    consumer.close()


def test_jobs_with_fairness_keys_are_found_after_the_keys_are_forgotten(broker: SqliteBroker, job: Make) -> None:
    broker.put(
        [job(), *(sent := [job(constraints=Constraints(fairness_key=f"{n}")) for n in range(FAIRNESS_KEYS_KEPT + 1)])]
    )
    some = [each.id for each in sent[:50]]
    broker.inspector.prune()
    assert [view and view.id for view in broker.inspector.find(some)] == some
    assert broker.put([after(job, sent[0])]) != []


def test_jobs_of_one_round_of_fairness_keys_have_places_of_their_own(broker: SqliteBroker, path: Path, job: Make) -> None:
    """Looking up one of them would find them all."""
    broker.put([job(), *[job(constraints=Constraints(fairness_key=f"{n % 1000}")) for n in range(2000)]])
    assert rows(path, "SELECT count(DISTINCT seq) FROM longboat_ready") == [(2001,)]


def test_jobs_with_fairness_keys_are_moved_away_and_back(broker: SqliteBroker, job: Make) -> None:
    broker.put([job(), *(sent := [job(constraints=Constraints(fairness_key="a")) for _ in range(3)])])
    ids = [each.id for each in sent]
    exported_jobs = broker.transfer.export_jobs("away", ids)
    assert [broker.inspector.find(ids), [exported.id for exported in exported_jobs]] == [[None] * 3, ids]
    assert broker.transfer.import_jobs("back", exported_jobs) == ids
    assert [view and view.id for view in broker.inspector.find(ids)] == ids
    assert broker.transfer.import_jobs("once more", exported_jobs) == []
    assert broker.inspector.counts() == {("default", State.READY): 4}
