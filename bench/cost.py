"""`python -m bench.cost [--write]`: what each call costs the store for a job, with and without a kept result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from bench.place import HERE, folder, url
from bench.postgres.drain import server
from longboat import connect
from longboat.brokers.postgres.connections import TimedConnection
from longboat.brokers.sqlite import SqliteBroker
from longboat.contract.broker import Broker, Lease, Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_ids

SIZES = {1: 500, 100: 20_000}
"""By how many jobs each call is about: how many go through."""
MESSAGE = b"x" * 150
KEPT = 0.001
"""Seconds: what is kept is over when it is to be forgotten."""
TICK = os.sysconf("SC_CLK_TCK")
HEAD = """| broker | jobs a call | call | statements | WAL bytes | syncs | server's CPU, µs |
|---|---|---|---|---|---|---|"""


class Cost(NamedTuple):
    """So far; or of one job."""

    statements: float
    wal: float
    syncs: float
    cpu: float
    """Seconds."""

    def since(self, other: Cost, n: int) -> Cost:
        return Cost(*((now - then) / n for now, then in zip(self, other, strict=True)))

    def plus(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


Meter = Callable[[], Cost]


@contextmanager
def sqlite() -> Iterator[tuple[Broker, Meter]]:
    """Statements of the writing connection, commits that wait for the disk, and the CPU of the caller's process."""
    statements = syncs = 0
    durable = True

    def traced(sql: str) -> None:
        nonlocal statements, syncs, durable
        statements += 1
        if sql.startswith("PRAGMA synchronous"):
            durable = sql.endswith("full")
        syncs += durable and sql == "COMMIT"

    with folder() as path, closing(connect(url(path, "full"))) as broker:
        assert isinstance(broker, SqliteBroker)
        with broker._store.write() as tx:
            writer = tx.db
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.set_trace_callback(traced)
        log = path / "jobs.db-wal"
        yield broker, lambda: Cost(statements, log.stat().st_size, syncs, time.process_time())


@contextmanager
def postgres() -> Iterator[tuple[Broker, Meter]]:
    """Exchanges with the server; commits; the CPU of its processes."""
    exchanges = 0
    waited = TimedConnection.wait

    def counted(self: TimedConnection, *args: object, **options: object) -> object:
        nonlocal exchanges
        exchanges += 1
        return waited(self, *args, **options)

    with server(["autovacuum = off"]) as made, psycopg.connect(made.url, autocommit=True) as beside:
        pid = int((made._data / "postmaster.pid").read_text().split()[0])
        TimedConnection.wait = counted  # type: ignore[method-assign]  # until the end
        try:
            with closing(connect(made.url)) as broker:
                broker.inspector.counts()

                def meter() -> Cost:
                    row = beside.execute(
                        "SELECT pg_current_wal_insert_lsn() - '0/0', pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
                    ).fetchone()
                    assert row is not None
                    return Cost(exchanges, float(row[0]), row[1], _cpu_of_children(pid))

                yield broker, meter
        finally:
            TimedConnection.wait = waited  # type: ignore[method-assign]


def _cpu_of_children(pid: int) -> float:
    """Seconds of all that the server has started and that still run."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def costs(broker: Broker, meter: Meter, by: int, keep: float) -> dict[str, Cost]:
    """By call, of one job."""
    number = SIZES[by]
    jobs = [Job(MESSAGE_VERSION, each, "t", MESSAGE, keep=keep) for each in new_ids(number)]
    parts = [jobs[at : at + by] for at in range(0, number, by)]
    found: dict[str, Cost] = {}

    def measured(call: str, do: Callable[[], object]) -> None:
        before = meter()
        do()
        found[call] = meter().since(before, number)

    consumer = broker.consumer(["default"], lease=600)
    measured("put", lambda: [broker.put(part, token=(jobs[0].id, at + 1)) for at, part in enumerate(parts)])
    leases: list[list[Lease]] = []
    measured("claim", lambda: leases.extend(consumer.receive(by, wait=1) for _ in parts))
    outcome = Done(b"\xc0")
    measured("settle", lambda: [consumer.settle([Settlement(each, outcome) for each in part]) for part in leases])
    if keep:
        measured("read", lambda: [broker.results.get([job.id for job in part]) for part in parts])
        measured("forget", lambda: list(iter(lambda: broker.inspector.prune(limit=1000), 0)))
    consumer.close()
    return found


def rows(name: str, broker: Broker, meter: Meter, by: int) -> Iterator[str]:
    costs(broker, meter, by, 0.0)  # statements are prepared, files have grown
    bare = costs(broker, meter, by, 0.0)
    kept = costs(broker, meter, by, KEPT)
    for about, calls in (("", bare), (", result kept", kept)):
        whole = Cost(0, 0, 0, 0)
        for call, cost in calls.items():
            whole = whole.plus(cost)
            yield row(name, by, call + about, cost)
        yield row(name, by, f"**all{about}**", whole)


def row(name: str, by: int, call: str, cost: Cost) -> str:
    statements, wal, syncs, cpu = cost
    return f"| {name} | {by} | {call} | {statements:.3g} | {wal:,.0f} | {syncs:.3g} | {cpu * 1e6:,.1f} |"


ABOUT = """# What a job costs the store

Made by `python -m bench.cost --write`: of one job, call by call.
SQLite: statements that write, bytes of the log, commits that wait for the disk, CPU of the calling process.
PostgreSQL: exchanges with the server, bytes of its log, commits, CPU of its processes.
"""


def main(options: Sequence[str]) -> int:
    lines = [ABOUT, HEAD]
    print(HEAD)
    for name, opened in (("SQLite, FULL", sqlite), ("PostgreSQL", postgres)):
        for by in SIZES:
            with opened() as (broker, meter):
                for line in rows(name, broker, meter, by):
                    print(line, flush=True)
                    lines.append(line)
    if "--write" in options:
        (HERE / "results/cost.md").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
