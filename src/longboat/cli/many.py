"""Doing something to many jobs: what they are, a question, progress, and a Ctrl-C that ends it between two calls."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from longboat.cli.fail import DONE, INTERRUPTED

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.operate.bulk import Chosen, Done
    from longboat.operate.search import Query

LOOKED_UP = 500
"""Ids in one call."""
SAID = {
    "retry": ("retry", "retried", "dead"),
    "cancel": ("cancel", "cancelled", "unfinished"),
    "discard": ("delete", "deleted", ""),
    "move": ("move", "moved", ""),
}
"""Action -> what would be done, what was done, to jobs that are what."""


def choose(broker: Broker, query: Query, *, to: str = "") -> Chosen:
    """All jobs that are found, but for those in queue `to` already."""
    from longboat.client.progress_bar import bar
    from longboat.operate import bulk

    with bar("Found", None) as look:
        return bulk.choose(broker, query, to=to, look=look)


def named(broker: Broker, query: Query, ids: list[str]) -> Chosen:
    """Those of the jobs with these ids that the query finds."""
    from longboat.operate.bulk import Chosen
    from longboat.operate.search import matches

    chosen = Chosen()
    for begin in range(0, len(ids), LOOKED_UP):
        for view in broker.inspector.find(ids[begin : begin + LOOKED_UP]):
            if view is not None and matches(query, view):
                chosen.add(view)
    return chosen


def carry_out(
    broker: Broker,
    action: str,
    query: Query,
    chosen: Chosen,
    *,
    yes: bool,
    dry_run: bool,
    to: str = "",
    as_json: bool = False,
) -> int:
    """Ask, do it to those chosen, say how many it was (a dry run: by state and task); returns the exit status."""
    from longboat.cli.asking import agreed, jobs
    from longboat.client.progress_bar import bar
    from longboat.errors import LongboatError
    from longboat.operate import bulk

    total, done = len(chosen.ids), bulk.Done()
    would, was, of = SAID[action]
    where = f" to queue {to}" if to else ""
    what = f"{would} {jobs(total, of)}{_states(chosen, of)}{where}"
    if total and agreed(what, yes=yes, dry_run=dry_run, as_json=as_json):
        with ctrl_c() as stop, bar(was.capitalize(), total) as draw:

            def advance(so_far: Done, more: int) -> None:
                nonlocal done
                done = so_far
                draw(more)

            try:
                done = bulk.carry_out(broker, action, query, chosen.ids, to=to, advance=advance, stop=stop)
            except LongboatError:
                if done.tried:
                    click.echo(f"{was} {done.done:,} of {jobs(total, of)}{where} before this:", err=True)
                raise
        report(done, total, was, of, where, as_json)
    if as_json:
        by = [{"state": state.value, "task": task, "jobs": number} for (state, task), number in chosen.by.most_common()]
        document(action, total, by, done, dry_run)
    elif not total:
        click.echo("no such jobs")
    elif dry_run:
        _counted(chosen)
    return INTERRUPTED if done.stopped else DONE


def _states(chosen: Chosen, of: str) -> str:
    """In brackets, unless the word for the jobs says it."""
    if of:
        return ""
    found: dict[str, int] = {}
    for (state, _), number in chosen.by.items():
        found[state.value] = found.get(state.value, 0) + number
    return f" ({', '.join(f'{number:,} {state}' for state, number in found.items())})"


def _counted(chosen: Chosen) -> None:
    from longboat.cli import show

    rows = [[state.value, task, f"{number:,}"] for (state, task), number in chosen.by.most_common()]
    show.table(("state", "task", "jobs"), rows, right=frozenset({"jobs"}))


def report(done: Done, total: int, was: str, of: str, where: str, as_json: bool) -> None:
    """Say how many it was (the JSON document says so too), and how many were left."""
    from longboat.cli.asking import jobs

    if not as_json:
        click.echo(
            f"stopped: {was} {done.done:,} of {jobs(total, of)}{where}"
            if done.stopped
            else f"{was} {jobs(done.done, of)}{where}"
        )
    if left := done.tried - done.done:
        click.echo(f"{jobs(left)} left: changed meanwhile, or part of a flow", err=True)


def document(action: str, total: int, by: list[dict[str, Any]], done: Done, dry_run: bool) -> None:
    """All of it as JSON."""
    from longboat.cli import show

    found = {"action": action, "found": total, "by": by, "dry_run": dry_run}
    click.echo(show.as_json({**found, "done": done.done, "stopped": done.stopped}))


@contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """Gives whether Ctrl-C was pressed; a second one interrupts as ever."""
    pressed = False

    def press(_: int, __: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
