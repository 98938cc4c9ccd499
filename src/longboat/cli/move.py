"""`longboat move`: jobs from one broker into another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from longboat.cli.params import changes, json_option

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.operate.move import Moved


@click.command()
@click.argument("from_url", metavar="FROM_URL")
@click.argument("to_url", metavar="TO_URL")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Only of this queue; may be given several times.")
@changes
@json_option
def command(from_url: str, to_url: str, queues: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Move jobs from one broker into another: ready, scheduled, waiting and dead ones, with their attempts and failures.

    Producers and workers of both may go on meanwhile. No job is lost and none is doubled; after a kill at any point, the
    same command goes on where it stopped. Jobs that run stay and end where they are, so do those of a chain or chord
    that wait for others. Results that are waited for at the source are not told there: move the producers first.

    Says how many jobs of which states it would be, and asks.

    \b
    longboat move sqlite:///longboat.db redis://localhost:6379 --dry-run
    longboat move sqlite:///longboat.db postgresql://host/database --queue mail --yes
    """
    from longboat.cli.asking import agreed, jobs
    from longboat.client.progress_bar import bar
    from longboat.operate.move import in_transfer, label, movable, move, refuse_same

    to = label(_absolute(to_url))
    with _source(from_url) as source, _destination(to_url) as destination:
        refuse_same(source, destination)
        found = movable(source, queues)
        halfway = in_transfer(source).get(to, 0)
        total = sum(found.values()) + halfway
        words = [f"{n:,} {state.value}" for state, n in found.items()] + ([f"{halfway:,} on their way"] if halfway else [])
        if as_json and dry_run:
            _print({"would_move": total, **{state.value: n for state, n in found.items()}, "on_their_way": halfway})
            return
        if total and not agreed(f"move {jobs(total)} ({', '.join(words)}) to {to}", yes=yes, dry_run=dry_run):
            return
        if not total:
            click.echo("no such jobs", err=as_json)
        with _advised(), bar("Moved", total) as advance:
            done = move(source, destination, to, queues=queues, advance=advance)
        _report(done, source, queues, as_json, total)


def _report(done: Moved, source: Broker, queues: tuple[str, ...], as_json: bool, total: int) -> None:
    from longboat.cli.asking import jobs
    from longboat.core.job import State
    from longboat.operate.move import movable

    left = {state.value: n for state, n in movable(source, queues).items()}
    counts = source.inspector.counts()
    if running := sum(n for (q, state), n in counts.items() if state is State.RUNNING and (not queues or q in queues)):
        left[State.RUNNING.value] = running
    if as_json:
        _print({"moved": done.moved, "resumed": done.resumed, "known": done.known, "late": done.late, "left": left})
    elif total or done.moved:
        click.echo(f"moved {jobs(done.moved)}")
    if done.known:
        click.echo(f"{jobs(done.known)} had ids that the destination knew: nothing came of them there", err=True)
    if done.late:
        click.echo(f"{jobs(done.late)} had been on their way for over a day: any that ran there may run again", err=True)
    if left:
        click.echo(f"left at the source: {', '.join(f'{n:,} {state}' for state, n in left.items())}", err=True)
    for where, n in done.elsewhere.items():
        click.echo(f"{jobs(n)} of the source are on their way to {where}: finish that move with the same URLs", err=True)


def _print(value: object) -> None:
    from longboat.cli import show

    click.echo(show.as_json(value))


@contextmanager
def _source(url: str) -> Iterator[Broker]:
    from longboat.cli.address import opened

    with opened(url) as broker:
        yield broker


@contextmanager
def _destination(url: str) -> Iterator[Broker]:
    """A file that is not there yet is made: where else should the first jobs come from."""
    from longboat.cli.address import refuse_memory
    from longboat.connect import connect

    refuse_memory(url)
    broker = connect(url)
    try:
        yield broker
    finally:
        broker.close()


def _absolute(url: str) -> str:
    from longboat.cli.address import sqlite_path

    path = sqlite_path(url)
    return url if path is None else f"sqlite:///{path}"


@contextmanager
def _advised() -> Iterator[None]:
    from longboat.errors import BrokerError

    try:
        yield
    except BrokerError as error:
        what = str(error).partition("\n")[0]
        raise type(error)(f"{what}\nRun the same command again: it goes on where it stopped.") from error
