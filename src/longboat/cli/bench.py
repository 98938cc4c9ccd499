"""`longboat bench`: what this machine can do, in three figures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from longboat.app import Longboat
    from longboat.tasks.task import Task

ROUND_TRIPS = 300
WARM_UP = 20
BREATH = 0.02
"""Seconds between looks at the progress."""


class Figures(NamedTuple):
    """Jobs per second in and out, and seconds from enqueue to result."""

    put: float
    drained: float
    half: float
    nearly_all: float


@click.command()
@click.option(
    "--jobs",
    type=click.IntRange(1, 10_000_000),
    default=20_000,
    show_default=True,
    metavar="N",
    help="How many jobs to run.",
)
def command(jobs: int) -> None:
    """Run N no-op coroutine jobs through a worker in this process, on a SQLite file in the temporary directory.

    Jobs are synced to disk, as by default. It is a single run on a machine that is doing other things too: expect the
    figures to vary.
    """
    import os
    import tempfile

    from longboat.worker.options import processors

    click.echo(f"{jobs:,} no-op jobs, SQLite, synchronous=full, one process, {processors()} processors")
    with tempfile.TemporaryDirectory(prefix="longboat-bench-") as folder:
        figures = measure(f"sqlite:///{os.path.join(folder, 'jobs.db')}", jobs)
    click.echo(f"put          {figures.put:>10,.0f} jobs/s in batches")
    click.echo(f"drained      {figures.drained:>10,.0f} jobs/s by one worker")
    click.echo(f"round trip   {figures.half * 1e3:>10.2f} ms p50   {figures.nearly_all * 1e3:.2f} ms p99")


def measure(url: str, jobs: int) -> Figures:
    """Measure one run on this broker, which must be empty."""
    from longboat.app import Longboat
    from longboat.client.progress_bar import bar

    with Longboat() as app:
        app.url = url

        @app.task(name="bench.nothing")
        async def nothing() -> None:
            pass

        with bar("Draining", jobs) as advance:
            began = time.perf_counter()
            nothing.enqueue_many([()] * jobs)
            put = time.perf_counter() - began
            with app.worker():
                began = time.perf_counter()
                _drain(app, jobs, advance)
                drained = time.perf_counter() - began
                trips = sorted(_round_trips(nothing))
    return Figures(jobs / put, jobs / drained, trips[len(trips) // 2], trips[int(len(trips) * 0.99)])


def _drain(app: Longboat, jobs: int, advance: Any) -> None:
    """Wait until no job is left. It looks only now and then: looking costs the worker time."""
    from longboat.core.job import State

    done = 0
    while done < jobs:
        time.sleep(BREATH)
        counts = app.broker.inspector.counts()
        left = sum(number for (_, state), number in counts.items() if state in (State.READY, State.RUNNING))
        advance(jobs - left - done)
        done = jobs - left


def _round_trips(nothing: Task[[], None]) -> list[float]:
    took = []
    for _ in range(WARM_UP + ROUND_TRIPS):
        began = time.perf_counter()
        nothing.enqueue().result(timeout=30)
        took.append(time.perf_counter() - began)
    return took[WARM_UP:]
