"""Beside the other queues on PostgreSQL: no-op jobs a second of one worker process each, on the same server."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import psycopg

from bench import place
from bench.figure import Figure, Plan, Tell, ratio
from bench.peers import environments
from bench.peers.beside import Peer, about, noted, rate
from bench.peers.job import marked
from bench.peers.marks import marks, seconds
from bench.postgres.drain import NUMBER, emptied, server
from bench.postgres.limit import measure
from tests.rigs.servers.postgres import PostgresServer

OURS = "Longboat"
LOOP = "bare batched SKIP LOCKED loop"
BATCH = 100

PEERS = (
    Peer("pgqueuer", "bench.postgres.peers.pgqueuer", "postgres", 40_000),
    Peer("oban", "bench.postgres.peers.oban", "oban", 8000),
    Peer("procrastinate", "bench.postgres.peers.procrastinate", "postgres", 2000),
)
WORKER = ["bench.peers.job:app" if word == "bench.jobs:app" else word for word in place.WORKER]


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    peers = [peer for peer in PEERS if environments.maker(peer.environment)]
    part = 5 if plan.quick else 1
    bare: list[float] = []
    ours: list[float] = []
    theirs: dict[Peer, list[float]] = {peer: [] for peer in peers}
    with server() as made:
        abouts = {peer: about(peer, made.url) for peer in peers}
        for turn in range(plan.repeat):
            tell(f"Longboat beside its peers {turn + 1}/{plan.repeat}")
            bare.append(measure(emptied(made), NUMBER // part, BATCH)[0])
            ours.append(our_rate(made, NUMBER // part))
            for peer in peers:
                tell(f"{peer.name} {turn + 1}/{plan.repeat}")
                url = database(made)
                theirs[peer].append(rate(peer, url, peer.number // part, lambda url=url: settled(url)))  # type: ignore[misc]  # mypy cannot type a default of a lambda
    yield Figure(LOOP, "jobs/s", bare, entry=f"batches of {BATCH}, nothing run, no lease, no retry")
    yield Figure(OURS, "jobs/s", ours, entry=noted(True, "one worker process, concurrency 100, uvloop if installed"))
    for peer, rates in theirs.items():
        yield Figure(peer.name, "jobs/s", rates, entry=noted(abouts[peer]["at_least_once"], abouts[peer]["settings"]))
    yield ratio("a worker process beside the loop", ours, bare, "bare loop", "jobs/s", goal=0.5)
    best = max(peers, key=lambda peer: median(theirs[peer]))
    yield ratio("a worker process beside the best peer", ours, theirs[best], best.name, "jobs/s", goal=1)


def our_rate(made: PostgresServer, number: int) -> float:
    url = emptied(made)
    with place.at(url):
        marked.enqueue_many(() for _ in range(number))
    settled(url)
    with marks() as path, place.started(WORKER, url) as process:
        return number / seconds(path, number, process)


def database(made: PostgresServer) -> str:
    """The address of a new one, for a peer's tables."""
    made.query("DROP DATABASE IF EXISTS peer WITH (FORCE)")
    made.query("CREATE DATABASE peer")
    return made.url.removesuffix("/postgres") + "/peer"


def settled(url: str) -> None:
    """The planner knows what was put, as it soon would, and no checkpoint is due."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
