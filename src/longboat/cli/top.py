"""`longboat top`: queues, workers and what they do, live."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from longboat.cli.params import duration, url_option

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.observe.history import Tally, WorkerRecord

WINDOW = 60.0
"""Seconds that rates and latencies are of."""
QUEUE_COLUMNS = ("queue", "ready", "scheduled", "waiting", "running", "dead")
TASK_COLUMNS = ("task", "done/s", "failed/s", "wait p50", "wait p95", "run p50", "run p95")


class Sight(NamedTuple):
    """What is seen at one moment."""

    url: str
    queues: list[list[str]]
    workers: list[WorkerRecord]
    tasks: list[list[str]]


@click.command()
@click.option("--every", type=duration, default="2s", show_default=True, metavar="TIME", help="Look so often.")
@click.option("--once", is_flag=True, help="Show it once, and leave.")
@url_option
def command(every: float, once: bool, url: str | None) -> None:
    """Show queues, workers, throughput and latencies live, until Ctrl-C.

    Throughput and latencies are of the last minute, some seconds late. Without a terminal, or without rich, plain text
    is written, each time anew.
    """
    from longboat.cli.address import address, opened
    from longboat.core.urls import shown

    with opened(url) as broker:
        looks = _looks(broker, shown(address(url).url), max(every, 0.2), once)
        if sys.stdout.isatty() and not once and _live(looks):
            return
        for place, sight in enumerate(looks):
            if place:
                click.echo()
            _write(sight)


def _looks(broker: Broker, url: str, every: float, once: bool) -> Iterator[Sight]:
    import time

    while True:
        yield look(broker, url)
        if once:
            return
        time.sleep(every)


def look(broker: Broker, url: str) -> Sight:
    """How things stand."""
    from longboat.core.job import State
    from longboat.observe.history import workers

    counts = broker.inspector.counts()
    states = [State(name) for name in QUEUE_COLUMNS[1:]]
    queues = [
        [queue, *(f"{counts.get((queue, state), 0):,}" for state in states)]
        for queue in sorted({name for name, _ in counts})
    ]
    return Sight(url, queues, workers(broker.kv), tasks(broker))


def tasks(broker: Broker) -> list[list[str]]:
    """What the tasks did in the last minute, the busiest first."""
    import time

    from longboat.observe.history import GRAINS, Tally, slices

    grain = GRAINS[0]
    until = time.time()
    since = (until - WINDOW) // grain.width * grain.width
    found: dict[str, Tally] = {}
    for _, some in slices(broker.kv, grain, since, until):
        for (_, task), tally in some.items():
            found.setdefault(task, Tally()).add(tally)
    return [row(task, tally, until - since) for task, tally in sorted(found.items(), key=lambda item: -item[1].ended)]


def row(task: str, tally: Tally, seconds: float) -> list[str]:
    """A task as a row of TASK_COLUMNS."""
    from longboat.observe.history import quantile

    latencies = [_span(quantile(each, part)) for each in (tally.wait, tally.run) for part in (0.5, 0.95)]
    return [task, f"{tally.succeeded / seconds:,.1f}", f"{(tally.retried + tally.dead) / seconds:,.1f}", *latencies]


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def _tables(sight: Sight) -> Iterator[tuple[str, tuple[str, ...], list[list[str]], int]]:
    """Title, columns, rows, and how many columns stand at the left."""
    from longboat.cli import workers

    yield f"queues of {sight.url}", QUEUE_COLUMNS, sight.queues, 1
    yield f"workers: {len(sight.workers)}", workers.COLUMNS, [workers.row(record) for record in sight.workers], 2
    yield "tasks, last minute", TASK_COLUMNS, sight.tasks, 1


def _write(sight: Sight) -> None:
    from longboat.cli import show

    for place, (title, columns, rows, left) in enumerate(_tables(sight)):
        click.echo(("\n" if place else "") + title)
        show.table(columns, rows, right=frozenset(columns[left:]))


def _live(looks: Iterator[Sight]) -> bool:
    """Draw it anew in its place, over and over. False where rich is not installed."""
    try:
        from rich.live import Live
    except ImportError:
        return False
    with Live(screen=True, auto_refresh=False) as live:
        for sight in looks:
            live.update(_drawn(sight), refresh=True)
    return True


def _drawn(sight: Sight) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from longboat.cli.fail import line

    parts: list[Table | Text] = []
    for title, columns, rows, left in _tables(sight):
        table = Table(title=Text(title, "bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for place, column in enumerate(columns):
            table.add_column(column, justify="left" if place < left else "right", header_style="dim")
        for each in rows:
            table.add_row(*(Text(line(cell)) for cell in each))
        parts += [table, Text("")]
    return Group(*parts)
