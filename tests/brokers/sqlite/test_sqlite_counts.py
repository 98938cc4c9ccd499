"""The counters agree with the tables, whatever was done; what is forgotten leaves no rows behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from longboat.brokers.sqlite import SqliteBroker
from longboat.contract.broker import DEAD_KEPT, FORGOTTEN_AFTER, Settlement
from longboat.core.job import Cancelled, Dead, Done, Failure, Job, Outcome, Park, Release, Retry, State
from longboat.testing.clock import FakeClock

BOOM = Failure("Error", "boom")
OUTCOMES: list[Outcome] = [
    Done(b"x"),
    Done(b""),
    Retry(0, BOOM),
    Retry(9, BOOM),
    Dead(BOOM),
    Cancelled(BOOM),
    Release(),
    Release(9),
    Park(5, BOOM),
]
COUNTED = """
    SELECT queue, 'ready', count(*) FROM longboat_ready GROUP BY queue UNION ALL
    SELECT queue, 'running', count(*) FROM longboat_leased GROUP BY queue UNION ALL
    SELECT queue, 'scheduled', count(*) FROM longboat_scheduled GROUP BY queue UNION ALL
    SELECT queue, 'waiting', count(*) FROM longboat_waiting GROUP BY queue UNION ALL
    SELECT queue, state, count(*) FROM longboat_ended GROUP BY queue, state"""


def check(broker: SqliteBroker, path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        counted = {(queue, State(state)): n for queue, state, n in db.execute(COUNTED)}
        known = db.execute("SELECT count(*) FROM longboat_jobs").fetchone()[0]
    assert broker.inspector.counts() == counted
    assert known == sum(counted.values())


def test_counts_agree_with_the_tables_at_every_step(path: Path, job: Callable[..., Job]) -> None:
    clock = FakeClock()
    broker = SqliteBroker(path, clock=clock)
    sent = [job(queue=queue, keep=keep, expires=60) for queue in ("a", "b") for keep in (0.0, 50.0) for _ in OUTCOMES]
    named = [job(f"name {n}", delay=n % 2) for n in range(4)]
    broker.put(sent + named)
    broker.put([*sent[:5], *named, job()])
    check(broker, path)
    consumer = broker.consumer([], lease=10)
    leases = [*consumer.receive(5, wait=0), *consumer.receive(1000, wait=0)]
    check(broker, path)
    consumer.settle([Settlement(lease, OUTCOMES[n % 9]) for n, lease in enumerate(leases[:30])], started=leases[:36])
    check(broker, path)
    broker.inspector.cancel([each.id for each in sent[::3]])
    check(broker, path)
    assert broker.evict(consumer.id, BOOM) == len(leases) - 30
    check(broker, path)
    broker.inspector.retry([each.id for each in sent])
    check(broker, path)
    for seconds in (6.0, 20.0, 40.0):
        clock.advance(seconds)
        other = broker.consumer(["none"], lease=1)
        other.receive(1, wait=0)
        check(broker, path)
    broker.inspector.purge({State.READY, State.SCHEDULED}, limit=3)
    check(broker, path)
    clock.advance(DEAD_KEPT)
    broker.inspector.purge(set(State))
    while broker.inspector.prune():
        check(broker, path)
    clock.advance(FORGOTTEN_AFTER)
    while broker.inspector.prune():
        pass
    broker.close()
    with closing(sqlite3.connect(path)) as db:
        left = {name: db.execute(f"SELECT count(*) FROM longboat_{name}").fetchone()[0] for name in TABLES}
    assert left == dict.fromkeys(TABLES, 0)


TABLES = ["jobs", "ready", "leased", "scheduled", "waiting", "ended", "kept", "places", "puts", "counts"]


def test_ids_of_any_text_come_back_as_they_were(broker: SqliteBroker, job: Callable[..., Job]) -> None:
    ids = ["a b", 'quote " and \\', "nul \0 inside", "line\nbreak", "\u2603 \U0001f6a2", "0 1 2", "x" * 255]
    assert broker.put([job(each) for each in ids]) == ids
    consumer = broker.consumer([], lease=10)
    listener = broker.results.listen()
    listener.watch(ids)
    leases = consumer.receive(100, wait=0)
    assert [lease.job.id for lease in leases] == ids
    assert [view.id for view in broker.inspector.find(ids) if view] == ids
    assert broker.inspector.cancel(ids) == ids
    assert list(consumer.extend().cancelled) == ids
    assert consumer.settle([Settlement(lease, Done(lease.job.id.encode())) for lease in leases]) == []
    assert [result.value for result in broker.results.get(ids) if result] == [each.encode() for each in ids]
    assert sorted(result.id for result in listener.wait(1)) == sorted(ids)
    assert broker.put([job(each) for each in ids]) == []
    listener.close()
    consumer.close()
