"""Beside the other queues on RabbitMQ: no-op jobs a second of one worker process each, and of who enqueues one at a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from statistics import median

from bench import place
from bench.figure import Figure, Plan, Tell, ratio
from bench.peers.beside import Peer, about, command, environment, noted, working
from bench.peers.job import marked
from bench.peers.marks import marks, seconds
from bench.place import ROOT, at, started
from bench.rabbitmq.server import emptied, server

OURS = "Longboat"
NUMBER, SINGLE = 40_000, 2000
PEERS = (
    Peer("dramatiq", "bench.rabbitmq.peers.dramatiq", "rabbitmq", 6000),
    Peer("celery", "bench.rabbitmq.peers.celery", "rabbitmq", 4000),
)
WORKER = ["bench.peers.job:app" if word == "bench.jobs:app" else word for word in place.WORKER]


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    part = 5 if plan.quick else 1
    ours: list[tuple[float, float]] = []
    theirs: dict[Peer, list[tuple[float, float]]] = {peer: [] for peer in PEERS}
    with server() as made:
        abouts = {peer: about(peer, made.url) for peer in PEERS}
        for turn in range(plan.repeat):
            tell(f"Longboat beside its peers {turn + 1}/{plan.repeat}")
            ours.append((our_drain(emptied(made), NUMBER // part), our_put(emptied(made), SINGLE // part)))
            for peer in PEERS:
                tell(f"{peer.name} {turn + 1}/{plan.repeat}")
                theirs[peer].append(peer_rates(peer, emptied(made), peer.number // part))
    entries = {peer: noted(told["at_least_once"], told["settings"]) for peer, told in abouts.items()}
    settings = "quorum queues, confirmed; one worker process, concurrency 100, uvloop if installed"
    yield Figure(OURS, "jobs/s", drains(ours), entry=noted(True, settings))
    for peer in PEERS:
        yield Figure(peer.name, "jobs/s", drains(theirs[peer]), entry=entries[peer])
    best = max(PEERS, key=lambda peer: median(drains(theirs[peer])))
    yield ratio("a worker process beside the best peer", drains(ours), drains(theirs[best]), best.name, "jobs/s", goal=1)
    for peer in PEERS:
        what = f"enqueue one at a time, beside {peer.name}"
        yield ratio(what, puts(ours), puts(theirs[peer]), peer.name, "jobs/s", entry="each confirmed before the next")


def drains(rates: list[tuple[float, float]]) -> list[float]:
    return [drain for drain, _ in rates]


def puts(rates: list[tuple[float, float]]) -> list[float]:
    return [put for _, put in rates]


def our_drain(url: str, number: int) -> float:
    with at(url):
        marked.enqueue_many(() for _ in range(number))
    with marks() as path, started(WORKER, url) as process:
        return number / seconds(path, number, process)


def our_put(url: str, number: int) -> float:
    with at(url):
        marked.enqueue()
        begun = time.perf_counter()
        for _ in range(number):
            marked.enqueue()
        return number / (time.perf_counter() - begun)


def peer_rates(peer: Peer, url: str, number: int) -> tuple[float, float]:
    """(jobs drained a second, jobs enqueued a second)"""
    with marks() as path:
        put = subprocess.run(
            command(peer, "put", str(number)), cwd=ROOT, env=environment(url), check=True, stdout=subprocess.PIPE
        )
        with working(peer, url) as process:
            return number / seconds(path, number, process), float(put.stdout)
