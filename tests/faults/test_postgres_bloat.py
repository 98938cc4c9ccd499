"""No bloat: the tables stay as small as they were, however many jobs have gone through.

Of a million: bench/postgres/bloat.py.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.rigs.redis import done, jobs, opened
from tests.rigs.servers.postgres import PostgresServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

BATCH = 5_000
ROUNDS = 40
SMALL = 64_000_000
"""Bytes that are no bloat, however late autovacuum comes on a busy machine: the jobs' rows take several times as much."""
SIZE = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'longboat'::regnamespace"
)


def test_tables_do_not_grow_with_the_jobs_that_went_through(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "postgres", options=["autovacuum_naptime = 2s"]) as server, opened(server.url) as broker:
        consumer = broker.consumer(["default"], lease=60)
        sizes: list[int] = []
        heard = time.monotonic()
        for _ in range(ROUNDS):
            broker.put(jobs(BATCH, keep=0.0))
            left = BATCH
            while left:
                leases = consumer.receive(500, wait=5)
                assert consumer.settle(done(leases)) == []
                left -= len(leases)
                if time.monotonic() - heard > 1:
                    consumer.extend()
                    heard = time.monotonic()
            sizes.append(int(server.query(SIZE)))
        consumer.close()
    early, late = max(sizes[ROUNDS // 5 : ROUNDS // 2]), max(sizes[ROUNDS // 2 :])
    assert late < max(1.5 * early, SMALL), f"{early:,} bytes at most up to half of the jobs, {late:,} then"
