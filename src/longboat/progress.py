"""Progress of long work, drawn on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(label: str, total: int | None, wanted: bool = True) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how many more are done. Draws on standard error, if that is a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield lambda _: None
        return
    import click

    if total is not None:
        with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True) as drawn:
            yield drawn.update
        return
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        click.echo(f"\r{label}: {done:,}", nl=False, err=True)

    yield count
    click.echo(err=True)
