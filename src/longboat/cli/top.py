"""`longboat top`: queues, workers and tasks, live."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from longboat.cli import show, workers
from longboat.cli.address import address, opened
from longboat.cli.fail import line
from longboat.cli.params import duration, json_option, url_option
from longboat.cli.table import table
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
from longboat.observe.words import span

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

WINDOW = 60.0
"""Seconds that latencies cover."""
STATES = ("ready", "scheduled", "waiting", "running", "dead")
QUEUE_COLUMNS = ("queue", *STATES)
SHOWN = ("wait_p50", "wait_p95", "run_p50", "run_p95")
TASK_COLUMNS = ("task", "done/s", "failed/s", "wait p50", "wait p95", "run p50", "run p95")


class Section(NamedTuple):
    """One of the tables on the screen."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    right: tuple[str, ...]


@click.command()
@click.option("--every", type=duration, default="2s", show_default=True, metavar="TIME", help="How often to refresh.")
@click.option("--once", is_flag=True, help="Print it once and exit.")
@json_option
@url_option
def command(every: float, once: bool, as_json: bool, url: str | None) -> None:
    """Show queues, workers, throughput and latencies live, until Ctrl-C.

    Throughput covers the last ten seconds, latencies the last minute, a second or two late. Without a terminal, or without
    rich, the output is plain text, printed again each time. --json writes an object each time.
    """
    with opened(url) as broker:
        if as_json:
            for _ in _times(max(every, 0.2), once):
                click.echo(show.to_json(seen(broker)))
            return
        views = _views(broker, shown(address(url).url), max(every, 0.2), once)
        if sys.stdout.isatty() and not once and _live(views):
            return
        for number, sections in enumerate(views):
            for place, section in enumerate(sections):
                click.echo(("\n" if place or number else "") + section.title)
                table(section.columns, section.rows, right=section.right)


def _views(broker: Broker, url: str, every: float, once: bool) -> Iterator[list[Section]]:
    for _ in _times(every, once):
        yield look(broker, url)


def _times(every: float, once: bool) -> Iterator[None]:
    yield
    while not once:
        time.sleep(every)
        yield


def seen(broker: Broker) -> dict[str, Any]:
    """The state of things now, as plain data: durations in seconds, None where nothing is known."""
    found, now = numbers(broker), SYSTEM.now()
    queues = [{"queue": queue, **{name: found.of(queue, State(name)) for name in STATES}} for queue in sorted(found.queues)]
    since = (now - WINDOW) // GRAINS[0].width * GRAINS[0].width
    tallies: dict[str, Tally] = {}
    for (_, task), tally in history.recent(broker.kv, since, now + 1).items():
        tallies.setdefault(task, Tally()).add(tally)
    rates: dict[str, Pace] = {}
    for (_, task), pace in paces(broker.kv, now).items():
        rates.setdefault(task, Pace()).add(pace)
    tasks = []
    for task, tally in sorted(tallies.items(), key=lambda item: -item[1].ended):
        rate = rates.get(task, Pace())
        row: dict[str, Any] = {"task": task, "done_per_second": rate.succeeded, "failed_per_second": rate.failed}
        for what in LATENCIES:
            values = quantiles(getattr(tally, what), QUANTILES)
            row |= {f"{what}_p{100 * part:g}": value for part, value in zip(QUANTILES, values, strict=True)}
        tasks.append(row)
    return {"at": now, "queues": queues, "workers": history.workers(broker.kv), "tasks": tasks}


def look(broker: Broker, url: str) -> list[Section]:
    """The state of things now, as tables."""
    found = seen(broker)
    queues = [[row["queue"], *(show.number(row[name]) for name in STATES)] for row in found["queues"]]
    tasks = [
        [
            row["task"],
            *(f"{row[f'{name}_per_second']:,.1f}" for name in ("done", "failed")),
            *(_short(row[n]) for n in SHOWN),
        ]
        for row in found["tasks"]
    ]
    records = found["workers"]
    return [
        Section(f"queues of {url}", QUEUE_COLUMNS, queues, STATES),
        Section(f"workers: {len(records)}", workers.COLUMNS, [workers.row(record) for record in records], workers.RIGHT),
        Section("tasks, rates of 10 s, latencies of the last minute", TASK_COLUMNS, tasks, TASK_COLUMNS[1:]),
    ]


def _short(length: float | None) -> str:
    return "" if length is None else span(length)


def _live(views: Iterator[list[Section]]) -> bool:
    """Draw each view in place of the last one. False if rich is not installed."""
    try:
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        return False
    with Live(screen=True, auto_refresh=False) as live:
        for sections in views:
            drawn = [
                rich_table(
                    columns,
                    [[line(cell) for cell in each] for each in rows],
                    right,
                    title=Text(title, "bold"),
                    title_justify="left",
                    header_style="dim",
                )
                for title, columns, rows, right in sections
            ]
            live.update(Group(*(part for table in drawn for part in (table, Text("")))), refresh=True)
    return True


def rich_table(
    headers: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Collection[str],
    *,
    whole: Collection[str] = (),
    **style: Any,
) -> Any:
    """`whole`: columns that are never wrapped: an id is there to be copied."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), **style)
    for header in headers:
        drawn.add_column(header, justify="right" if header in right else "left", overflow="fold", no_wrap=header in whole)
    for row in cells:
        drawn.add_row(*map(Text, row))
    return drawn
