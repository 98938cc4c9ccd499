"""`longboat move`: jobs from one broker to another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from longboat.cli import acting, show
from longboat.cli.address import opened, refuse_memory, sqlite_path
from longboat.cli.asking import agreed, jobs
from longboat.cli.params import changes, json_option
from longboat.client.progress_bar import bar
from longboat.connect import connect
from longboat.core.job import State
from longboat.errors import BrokerError
from longboat.operate.move import Moved, in_transfer, label, movable, move, refuse_same

if TYPE_CHECKING:
    from longboat.contract.broker import Broker


@click.command()
@click.argument("from_url", metavar="FROM_URL")
@click.argument("to_url", metavar="TO_URL")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Only jobs in this queue; may be repeated.")
@changes
@json_option
def command(
    from_url: str, to_url: str, queues: tuple[str, ...], yes: bool, dry_run: bool, reason: str | None, as_json: bool
) -> None:
    """Move ready, scheduled, waiting and dead jobs from one broker to another, with their attempts and failures.

    Producers and workers of both may go on meanwhile. No job is lost or doubled; if the command is killed at any point, the
    same command continues where it stopped. Running jobs stay and end where they are, and so do jobs of a chain or chord
    that wait for others. Callers waiting for a result at the source are not told there: move the producers first.

    Reports how many jobs in which states it would be, and asks.

    \b
    longboat move sqlite:///longboat.db redis://localhost:6379 --dry-run
    longboat move sqlite:///longboat.db postgresql://host/database --queue mail --yes
    """
    path = sqlite_path(to_url)
    to = label(to_url if path is None else f"sqlite:///{path}")
    with opened(from_url) as source, _destination(to_url, path if dry_run else None) as destination:
        if destination is not None:
            refuse_same(source, destination)
        found = movable(source, queues)
        halfway = in_transfer(source).get(to, 0)
        total = sum(found.values()) + halfway
        words = [f"{n:,} {state.value}" for state, n in found.items()] + ([f"{halfway:,} in transfer"] if halfway else [])
        if as_json and dry_run:
            by_state = {state.value: n for state, n in found.items()}
            click.echo(show.to_json({"would_move": total, **by_state, "in_transfer": halfway}))
            return
        if total and not agreed(f"move {jobs(total)} ({', '.join(words)}) to {to}", yes=yes, dry_run=dry_run):
            return
        if not total:
            click.echo("no such jobs", err=as_json)
        if destination is None:
            return
        with _advised(), bar("Moved", total) as advance:
            done = move(source, destination, to, queues=queues, advance=advance)
        if done.moved:
            for broker in (source, destination):
                acting.told(broker, "move", f"{jobs(done.moved)} moved to {to}", reason)
        _report(done, source, queues, as_json, total)


def _report(done: Moved, source: Broker, queues: tuple[str, ...], as_json: bool, total: int) -> None:
    left = {state.value: n for state, n in movable(source, queues).items()}
    counts = source.inspector.counts()
    if running := sum(n for (q, state), n in counts.items() if state is State.RUNNING and (not queues or q in queues)):
        left[State.RUNNING.value] = running
    if as_json:
        numbers = {"moved": done.moved, "resumed": done.resumed, "known": done.known, "late": done.late}
        click.echo(show.to_json({**numbers, "left": left}))
    elif total or done.moved:
        click.echo(f"moved {jobs(done.moved)}")
    if done.known:
        click.echo(f"{jobs(done.known)} had ids that the destination already knew: they were not added there", err=True)
    if done.late:
        click.echo(f"{jobs(done.late)} had been in transfer for over a day: any that ran there may run again", err=True)
    if left:
        click.echo(f"left at the source: {', '.join(f'{n:,} {state}' for state, n in left.items())}", err=True)
    for where, n in done.elsewhere.items():
        click.echo(f"{jobs(n)} of the source are in transfer to {where}: finish that move with the same URLs", err=True)


@contextmanager
def _destination(url: str, dry: Path | None) -> Iterator[Broker | None]:
    """A file that does not exist yet is created: the first jobs come from here. None for one that a dry run would create."""
    refuse_memory(url)
    if dry is not None and not dry.exists():
        yield None
        return
    broker = connect(url)
    try:
        yield broker
    finally:
        broker.close()


@contextmanager
def _advised() -> Iterator[None]:
    try:
        yield
    except BrokerError as error:
        what = str(error).partition("\n")[0]
        raise type(error)(f"{what}\nRun the same command again: it continues where it stopped.") from error
