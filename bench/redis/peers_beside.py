"""Beside the other queues: no-op jobs a second of one worker process each, on the same server, seen in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.figure import Figure, Plan, Tell, ratio
from bench.peers.beside import Peer, about, noted, rate
from bench.peers.marks import marks, seconds
from bench.redis import jobs
from bench.redis.place import fill, worker
from bench.redis.server import emptied, server

OURS = "Longboat"
NUMBER = 100_000


PEERS = (
    Peer("taskiq, stream", "bench.redis.peers.taskiq_stream", "shared", 5000),
    Peer("taskiq, list", "bench.redis.peers.taskiq_list", "shared", 5000),
    Peer("arq", "bench.redis.peers.arq", "arq", 5000),
    Peer("huey", "bench.redis.peers.huey", "shared", 5000),
    Peer("saq", "bench.redis.peers.saq", "saq", 5000),
    Peer("dramatiq", "bench.redis.peers.dramatiq", "shared", 5000),
    Peer("streaq", "bench.redis.peers.streaq", "shared", 3000),
    Peer("celery", "bench.redis.peers.celery", "shared", 2000),
    Peer("rq", "bench.redis.peers.rq", "shared", 500),
)


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    ours: list[float] = []
    theirs: dict[Peer, list[float]] = {peer: [] for peer in PEERS}
    with server() as url:
        abouts = {peer: about(peer, url) for peer in PEERS}
        for turn in range(plan.repeat):
            tell(f"Longboat beside its peers {turn + 1}/{plan.repeat}")
            ours.append(our_rate(emptied(url), NUMBER // 5 if plan.quick else NUMBER))
            for peer in PEERS:
                tell(f"{peer.name} {turn + 1}/{plan.repeat}")
                number = peer.number // 5 if plan.quick else peer.number
                theirs[peer].append(rate(peer, emptied(url), number))
    settings = "one worker process, concurrency 100, uvloop if installed"
    yield Figure(OURS, "jobs/s", ours, entry=noted(True, settings))
    for peer, rates in theirs.items():
        yield Figure(peer.name, "jobs/s", rates, entry=noted(abouts[peer]["at_least_once"], abouts[peer]["settings"]))
    best = max((peer for peer in PEERS if abouts[peer]["at_least_once"]), key=lambda peer: median(theirs[peer]))
    yield ratio("beside the best at-least-once peer", ours, theirs[best], best.name, "jobs/s", goal=20)


def our_rate(url: str, number: int) -> float:
    with marks() as path, worker(fill(url, jobs.marked, number)) as process:
        return number / seconds(path, number, process)
