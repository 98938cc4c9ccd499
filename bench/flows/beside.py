"""Flows: a chain beside as many round trips one after the other, and a chord beside as many plain jobs, by one worker."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import at, drained, folder, inspector, unended, until, url, waiting, worker
from longboat import group

STEPS = 1000
PARENTS = 10_000
MODE = "full"


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    chains, trips, chords, plain = [], [], [], []
    for turn in range(plan.repeat):
        tell(f"chain of {STEPS:,} {turn + 1}/{plan.repeat}")
        chains.append(chain())
        trips.append(roundtrips())
        tell(f"chord of {PARENTS:,} {turn + 1}/{plan.repeat}")
        chords.append(chord())
        plain.append(alone())
    yield ratio(f"a chain of {STEPS:,} steps", chains, trips, f"{STEPS:,} round trips in a row", "s", goal=1.5, least=False)
    yield ratio(f"a chord of {PARENTS:,}", chords, plain, "as many of the same jobs alone", "jobs/s", goal=0.5)


def chain() -> float:
    """Seconds from the enqueueing of all steps to the last one's result."""
    with folder() as path, at(url(path, MODE)), worker(url(path, MODE)):
        jobs.step.enqueue(0).result(30)  # the worker is there
        call = jobs.step.s(0)
        for _ in range(STEPS - 1):
            call = call.then(jobs.step)
        begun = time.perf_counter()
        assert call.enqueue().result(120) == STEPS
        return time.perf_counter() - begun


def roundtrips() -> float:
    with folder() as path, at(url(path, MODE)), worker(url(path, MODE)):
        jobs.step.enqueue(0).result(30)
        begun, value = time.perf_counter(), 0
        for _ in range(STEPS):
            value = jobs.step.enqueue(value).result(30)
        assert value == STEPS
        return time.perf_counter() - begun


def alone() -> float:
    """Jobs a second of the chord's first task, none after another."""
    with folder() as path:
        address = url(path, MODE)
        with at(address):
            jobs.step.enqueue_many([(0,)] * PARENTS)
        return PARENTS / drained(address, PARENTS)


def chord() -> float:
    """Jobs a second, the last one too, measured as the plain ones are."""
    with folder() as path:
        address = url(path, MODE)
        with at(address):
            group(*[jobs.step.s(0) for _ in range(PARENTS)]).then(jobs.total).enqueue()
        with inspector(address) as look, worker(address) as process:
            begun = until(lambda: waiting(look) < PARENTS, process)
            return (PARENTS + 1) / (until(lambda: not unended(look), process) - begun)
