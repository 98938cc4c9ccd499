"""A million jobs through: how large the tables and indexes are late, beside how large they were early."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figure import Figure, Plan, Tell, ratio
from bench.postgres.drain import emptied, server
from bench.postgres.limit import MESSAGE
from longboat import connect
from longboat.contract.broker import Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_ids

NUMBER = 1_000_000
ROUND = 5_000
SIZE = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'longboat'::regnamespace"
)


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    rounds = NUMBER // ROUND // (5 if plan.quick else 1)
    sizes: list[int] = []
    with server(["autovacuum_naptime = 2s"]) as made:
        broker = connect(emptied(made))
        consumer = broker.consumer(["default"], lease=60)
        for turn in range(rounds):
            tell(f"bloat {turn + 1}/{rounds}")
            broker.put([Job(MESSAGE_VERSION, each, "t", MESSAGE[:150], keep=0.0) for each in new_ids(ROUND)])
            left = ROUND
            while left:
                leases = consumer.receive(500, wait=5)
                consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in leases])
                left -= len(leases)
            consumer.extend()
            sizes.append(int(made.query(SIZE)))
        consumer.close()
        broker.close()
    early, late = max(sizes[rounds // 5 : rounds // 2]), max(sizes[rounds // 2 :])
    entry = f"{rounds * ROUND:,} jobs, nothing kept; autovacuum_naptime = 2s; in the second half, beside a fifth to a half"
    yield ratio(
        "size of the tables as jobs go through",
        [late / 1e6],
        [early / 1e6],
        "early",
        "MB",
        goal=1.5,
        least=False,
        entry=entry,
    )
