"""`longboat top`: queues, jobs, workers, failures and tasks, live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from longboat.cli import show, views
from longboat.cli.address import address, opened
from longboat.cli.params import duration, json_option, url_option
from longboat.cli.table import coloured, table
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.urls import shown
from longboat.observe import history
from longboat.observe.history import GRAINS
from longboat.observe.metrics import QUANTILES
from longboat.observe.numbers import numbers
from longboat.observe.pace import Pace, paces
from longboat.observe.sketch import quantiles
from longboat.observe.tally import LATENCIES, Tally

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

WINDOW = 60.0
"""Seconds that latencies cover."""


@click.command()
@click.option("--every", type=duration, default="2s", show_default=True, metavar="TIME", help="How often to refresh.")
@click.option("--once", is_flag=True, help="Print it once and exit.")
@json_option
@url_option
def command(every: float, once: bool, as_json: bool, url: str | None) -> None:
    """Show queues, jobs, workers, failures and tasks live, on the whole terminal. Press ? for the keys, q to quit.

    1 to 5 choose what is shown, the arrows a row, and enter its jobs; p pauses a queue or a task, or resumes it, and r
    retries dead jobs. Throughput covers the last ten seconds, latencies the last minute, a second or two late.

    Without a terminal, the output is plain text, printed again each time. --json writes an object each time.
    """
    with opened(url) as broker:
        every = max(every, 0.2)
        if not (once or as_json) and sys.stdin.isatty() and sys.stdout.isatty():
            from longboat.cli import live

            files = sys.stdin.fileno(), sys.stdout.fileno()
            live.run(broker, partial(seen, broker), shown(address(url).url), every, *files, colours=coloured())
            return
        for number, _ in enumerate(_times(every, once)):
            found = seen(broker)
            if as_json:
                click.echo(show.to_json(found))
            else:
                _print(found, shown(address(url).url), first=not number)


def _print(found: dict[str, Any], url: str, *, first: bool) -> None:
    titles = [f"queues of {url}", f"workers: {len(found['workers'])}", "tasks, rates of 10 s, latencies of the last minute"]
    for title, view in zip(titles, (views.queues, views.living, views.tasks), strict=True):
        its = view(found)
        click.echo(("" if first and view is views.queues else "\n") + title)
        table(its.columns, its.rows, right=its.right, drop=its.drop)


def _times(every: float, once: bool) -> Iterator[None]:
    yield
    while not once:
        time.sleep(every)
        yield


def seen(broker: Broker) -> dict[str, Any]:
    """The state of things now, as plain data: durations in seconds, None where nothing is known."""
    found, now = numbers(broker), SYSTEM.now()
    since = (now - WINDOW) // GRAINS[0].width * GRAINS[0].width
    tallies: dict[str, Tally] = {}
    for (_, task), tally in history.recent(broker.kv, since, now + 1).items():
        tallies.setdefault(task, Tally()).add(tally)
    by_task, by_queue = dict[str, Pace](), dict[str, Pace]()
    for (queue, task), pace in paces(broker.kv, now).items():
        by_task.setdefault(task, Pace()).add(pace)
        by_queue.setdefault(queue, Pace()).add(pace)
    queues = [
        {"queue": queue, **{name: found.of(queue, State(name)) for name in views.STATES}, **_rates(by_queue.get(queue))}
        for queue in sorted(found.queues | by_queue.keys())
    ]
    tasks = []
    for task, tally in sorted(tallies.items(), key=lambda item: -item[1].ended):
        row: dict[str, Any] = {"task": task, **_rates(by_task.get(task))}
        for what in LATENCIES:
            values = quantiles(getattr(tally, what), QUANTILES)
            row |= {f"{what}_p{100 * part:g}": value for part, value in zip(QUANTILES, values, strict=True)}
        tasks.append(row)
    return {"at": now, "queues": queues, "workers": history.workers(broker.kv), "tasks": tasks}


def _rates(pace: Pace | None) -> dict[str, float]:
    rate = pace or Pace()
    return {"done_per_second": rate.succeeded, "failed_per_second": rate.failed}
