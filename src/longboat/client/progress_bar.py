"""A bar for the progress of long work, drawn on terminals only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(label: str, total: int | None, wanted: bool = True) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of items just done. Draws on standard error, if that is a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield lambda _: None
        return
    if total is not None:
        with _drawn(label, total) as advance:
            yield advance
        return
    import click

    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        click.echo(f"\r{label}: {done:,}", nl=False, err=True)

    yield count
    click.echo(err=True)


@contextmanager
def _drawn(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """With rich where it is installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        import click

        with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True) as plain:
            yield plain.update
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as drawn:
        task = drawn.add_task(label, total=total)
        yield lambda more: drawn.advance(task, more)
