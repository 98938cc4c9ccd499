"""Draining no-op jobs while somebody listens, while nobody does, and by workers that lack what is measured.

What is judged is the CPU time that a job costs the worker's processes: other load on the machine hardly changes it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bench import place
from bench.events.listener import listening
from bench.figure import Figure, Plan, Tell, ratio
from bench.idle import cpu, tree
from bench.place import inspector, started, unended, until, waiting

NUMBER = 180_000
"""So many that the kernel's ticks of 10 ms do not matter."""
TURNS = 3
"""Runs of each for one of the command line's repeats: single ones differ by more than what is measured."""
LOOK = 0.02
PATIENCE = 120.0

PLAIN, WATCHED, SILENT, BARE = "nobody listens", "one listens", "no events", "no history"
APPS = {
    PLAIN: "bench.jobs:app",
    WATCHED: "bench.jobs:app",
    SILENT: "bench.events.without_events:app",
    BARE: "bench.events.without_history:app",
}
"""What the worker of each kind of run is given."""
BESIDE: Sequence[tuple[str, str, str, float | None]] = (
    ("one listener", WATCHED, PLAIN, 0.95),
    ("no listener", PLAIN, SILENT, None),
    ("history", PLAIN, BARE, None),
)
"""Title, what runs, beside what, and the goal of the ratio."""

Fill = Callable[[int], contextlib.AbstractContextManager[str]]
"""A store with so many jobs in it; gives its URL."""


class Drain(NamedTuple):
    rate: float
    """Jobs a second."""
    cost: float
    """Microseconds of CPU time a job, of all the worker's processes together."""


def figures(plan: Plan, tell: Tell, store: str, fill: Fill) -> Iterator[Figure]:
    number = NUMBER // 5 if plan.quick else NUMBER
    turns = 1 if plan.quick else plan.repeat * TURNS
    for what, ours, peer, goal in BESIDE:
        found: dict[str, list[Drain]] = {ours: [], peer: []}
        for turn in range(turns):
            for name in (ours, peer) if turn % 2 else (peer, ours):
                tell(f"{store}, {name} {turn + 1}/{turns}")
                with fill(number) as address, listening(address, 1 if name == WATCHED else 0):
                    found[name].append(drained(address, number, APPS[name]))
        yield from beside(f"{store}, {what}", found[ours], found[peer], peer, goal)


def beside(what: str, ours: Sequence[Drain], peer: Sequence[Drain], name: str, goal: float | None) -> Iterator[Figure]:
    """The drain rate that a processor gives, as a part of the other's; and the rate that was seen, other load and all."""
    own, other = [1e6 / run.cost for run in ours], [1e6 / run.cost for run in peer]
    yield ratio(f"{what}, by CPU time", own, other, name, "jobs a CPU second", goal=goal)
    yield ratio(f"{what}, by the clock", [run.rate for run in ours], [run.rate for run in peer], name, "jobs/s")


def drained(address: str, number: int, app: str) -> Drain:
    """From when the first jobs are taken until the last of `number` is settled, by one worker process."""
    command = [app if word == "bench.jobs:app" else word for word in place.WORKER]
    with inspector(address) as look, started(command, address) as process:
        begun = until(lambda: waiting(look) < number, process)
        used = spent(process.pid)
        while unended(look):
            if process.poll() is not None:
                raise RuntimeError(f"the worker ended with {process.returncode} before its jobs did")
            if time.perf_counter() > begun + PATIENCE:
                raise TimeoutError(f"not done within {PATIENCE:g} s")
            time.sleep(LOOK)
        return Drain(number / (time.perf_counter() - begun), (spent(process.pid) - used) / number * 1e6)


def spent(pid: int) -> float:
    """CPU seconds of a process and all below it."""
    return sum(map(cpu, tree(pid)))
