"""`longboat top`: queues, workers and tasks, live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from longboat.cli import show, workers
from longboat.cli.address import address, opened
from longboat.cli.fail import line
from longboat.cli.params import duration, url_option
from longboat.core.job import State
from longboat.core.urls import shown
from longboat.observe import history
from longboat.observe.history import GRAINS
from longboat.observe.numbers import numbers
from longboat.observe.sketch import quantile
from longboat.observe.tally import Tally
from longboat.observe.words import span

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

WINDOW = 60.0
"""Seconds that rates and latencies cover."""
QUEUE_COLUMNS = ("queue", "ready", "scheduled", "waiting", "running", "dead")
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
@url_option
def command(every: float, once: bool, url: str | None) -> None:
    """Show queues, workers, throughput and latencies live, until Ctrl-C.

    Throughput and latencies cover the last minute, a few seconds late. Without a terminal, or without rich, the output is
    plain text, printed again each time.
    """
    with opened(url) as broker:
        views = _views(broker, shown(address(url).url), max(every, 0.2), once)
        if sys.stdout.isatty() and not once and _live(views):
            return
        for number, sections in enumerate(views):
            for place, section in enumerate(sections):
                click.echo(("\n" if place or number else "") + section.title)
                show.table(section.columns, section.rows, right=section.right)


def _views(broker: Broker, url: str, every: float, once: bool) -> Iterator[list[Section]]:
    while True:
        yield look(broker, url)
        if once:
            return
        time.sleep(every)


def look(broker: Broker, url: str) -> list[Section]:
    """The state of things now."""
    found = numbers(broker)
    states = [State(name) for name in QUEUE_COLUMNS[1:]]
    queues = [[queue, *(show.number(found.of(queue, state)) for state in states)] for queue in sorted(found.queues)]
    records = history.workers(broker.kv)
    now, width = time.time(), GRAINS[0].width
    since = (now - WINDOW) // width * width
    by_task: dict[str, Tally] = {}
    for (_, task), tally in history.recent(broker.kv, since, now).items():
        by_task.setdefault(task, Tally()).add(tally)
    tasks = [row(task, tally, now - since) for task, tally in sorted(by_task.items(), key=lambda item: -item[1].ended)]
    return [
        Section(f"queues of {url}", QUEUE_COLUMNS, queues, QUEUE_COLUMNS[1:]),
        Section(f"workers: {len(records)}", workers.COLUMNS, [workers.row(record) for record in records], workers.RIGHT),
        Section("tasks, last minute", TASK_COLUMNS, tasks, TASK_COLUMNS[1:]),
    ]


def row(task: str, tally: Tally, seconds: float) -> list[str]:
    """A task as a row of TASK_COLUMNS."""
    latencies = [quantile(each, part) for each in (tally.wait, tally.run) for part in (0.5, 0.95)]
    rates = [f"{count / seconds:,.1f}" for count in (tally.succeeded, tally.retried + tally.dead)]
    return [task, *rates, *("" if each is None else span(each) for each in latencies)]


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
                show.rich_table(
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
