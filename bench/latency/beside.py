"""The times from due to start and to result at parts of what each queue bears, and ours at the rate that another bears."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bench import place
from bench.figure import Figure, Plan, Tell, ratio
from bench.latency.load import PERCENTS
from bench.peers.beside import Peer, about, command, environment, working
from bench.peers.marks import marks
from bench.place import ROOT, started
from bench.redis.server import emptied, server

OURS = "Longboat"
PEERS = (
    Peer("dramatiq", "bench.latency.peers.dramatiq", "shared", 0),
    Peer("taskiq", "bench.latency.peers.taskiq", "shared", 0),
)
PARTS = (25, 50, 80)
"""Per cent of the rate that goes through."""
SECONDS, MOST_SECONDS = 3.0, 2.0
KINDS = ("start", "result")
WORKER = ["bench.latency.ours:app" if word == "bench.jobs:app" else word for word in place.WORKER]
CALLER = [sys.executable, "-m", "bench.latency.ours"]

Ask = Callable[..., Any]


class Point(NamedTuple):
    rate: float
    """Jobs a second that were due."""
    times: dict[str, list[float]]
    """Of each of KINDS, the milliseconds at each of PERCENTS."""


Runs = dict[tuple[str, int], list[Point]]
"""By queue and per cent of what it bears."""


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    seconds = 1.0 if plan.quick else SECONDS
    found: Runs = {}
    same: dict[str, list[Point]] = {peer.name: [] for peer in PEERS}
    most: dict[str, list[float]] = {}
    with server() as url:
        entries = {peer.name: str(about(peer, url)["settings"]) for peer in PEERS}
        for turn in range(plan.repeat):
            for name, opened in sides(url):
                tell(f"{name} {turn + 1}/{plan.repeat}")
                with opened as ask:
                    most.setdefault(name, []).append(ask("most", MOST_SECONDS))
                    for part in PARTS:
                        found.setdefault((name, part), []).append(point(ask, most[name][-1] * part / 100, seconds))
                    if name == OURS:
                        continue
                with our_side(emptied(url)) as ask:
                    same[name].append(point(ask, most[name][-1] * PARTS[-1] / 100, seconds))
    entries[OURS] = "one worker process, concurrency 100, uvloop if installed; what is not asked for is not kept"
    for name, rates in most.items():
        yield Figure(f"{name}, goes through", "jobs/s", rates, entry=entries[name])
    for (name, part), points in found.items():
        yield from rows(f"{name}, {part} %", points)
    for name, points in same.items():
        yield from beside(name, points, found[name, PARTS[-1]])


def rows(what: str, points: list[Point]) -> Iterator[Figure]:
    entry = f"{points[len(points) // 2].rate:,.0f} jobs/s were due"
    for kind in KINDS:
        for place_, percent in enumerate(PERCENTS):
            yield Figure(f"{what}, to {kind}, p{percent:g}", "ms", [one.times[kind][place_] for one in points], entry=entry)


def beside(name: str, ours: list[Point], theirs: list[Point]) -> Iterator[Figure]:
    """Ours at the same rate, in the same minute."""
    for kind in KINDS:
        for place_, percent in enumerate(PERCENTS):
            our, their = ([one.times[kind][place_] for one in points] for points in (ours, theirs))
            what = f"{OURS} at {PARTS[-1]} % of what {name} bears, to {kind}, p{percent:g}"
            yield ratio(what, our, their, name, "ms", goal=1, least=False)


def point(ask: Ask, rate: float, seconds: float) -> Point:
    return Point(rate, dict(zip(KINDS, ask("at", rate, seconds), strict=True)))


def sides(url: str) -> Iterator[tuple[str, contextlib.AbstractContextManager[Ask]]]:
    yield OURS, our_side(emptied(url))
    for peer in PEERS:
        yield peer.name, their_side(peer, emptied(url))


@contextlib.contextmanager
def our_side(url: str) -> Iterator[Ask]:
    with marks(), started(WORKER, url), asked(CALLER, place.environment(url)) as ask:
        yield ask


@contextlib.contextmanager
def their_side(peer: Peer, url: str) -> Iterator[Ask]:
    with marks(), working(peer, url), asked(command(peer, "load"), environment(url)) as ask:
        yield ask


@contextlib.contextmanager
def asked(program: list[str], variables: dict[str, str]) -> Iterator[Ask]:
    """A caller in a process of its own. It is asked by lines, as bench/latency/load.py says."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(program, cwd=ROOT, env=variables, stdin=pipe, stdout=pipe, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    to, of = process.stdin, process.stdout

    def ask(*words: object) -> Any:
        print(*words, file=to, flush=True)
        if line := of.readline():
            return json.loads(line)
        raise RuntimeError(f"{' '.join(program)} ended with {process.wait(30)}")

    try:
        yield ask
        to.close()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        of.close()
