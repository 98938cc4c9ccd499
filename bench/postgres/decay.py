"""Dead rows: what jobs cost late, beside early, while no vacuum comes; and while a transaction stays open elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg

from bench.figure import Figure, Plan, Tell, ratio
from bench.postgres.drain import emptied, server
from bench.postgres.limit import MESSAGE
from longboat import connect
from longboat.contract.broker import Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_ids

NUMBER = 240_000
ROUND = 5_000
BATCH = 100


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    number = NUMBER // (5 if plan.quick else 1)
    free, held, early, late = [], [], [], []
    with server(["autovacuum = off"]) as made:
        for turn in range(plan.repeat):
            tell(f"dead rows {turn + 1}/{plan.repeat}")
            free.append(sum(seconds(emptied(made), number)))
            with psycopg.connect(url := emptied(made)) as old:
                old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                old.execute("SELECT 1")
                rounds = seconds(url, number)
            held.append(sum(rounds))
            part = len(rounds) // 4
            early.append(sum(rounds[:part]))
            late.append(sum(rounds[-part:]))
    entry = f"{number:,} jobs by {BATCH}, nothing kept, no vacuum"
    yield ratio("jobs beside an open transaction", held, free, "without", "s", goal=3, least=False, entry=entry)
    yield ratio("the last quarter of them", late, early, "the first quarter", "s", goal=1.5, least=False, entry=entry)


def seconds(url: str, number: int) -> list[float]:
    """Of each round: so many jobs are put, claimed and settled."""
    broker = connect(url)
    consumer = broker.consumer(["default"], lease=600)
    found = []
    for _ in range(number // ROUND):
        begun = time.perf_counter()
        broker.put([Job(MESSAGE_VERSION, each, "t", MESSAGE[:150], keep=0.0) for each in new_ids(ROUND)])
        left = ROUND
        while left:
            leases = consumer.receive(BATCH, wait=5)
            consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in leases])
            left -= len(leases)
        found.append(time.perf_counter() - begun)
    consumer.close()
    broker.close()
    return found
