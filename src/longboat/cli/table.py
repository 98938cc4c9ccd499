"""Tables: plain columns in a pipe; on a terminal they fit its width, ids are short and states have a colour."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from unicodedata import combining, east_asian_width

import click

from longboat.cli.fail import line
from longboat.cli.ids import short

GAP = 2
"""Characters between two columns."""
READABLE = 24
"""Characters that the last column keeps, if it has as many, while others can be dropped instead."""
NARROWEST = 6
"""Characters of a column that is cut, at least."""

COLOURS = {
    "running": "blue",
    "succeeded": "green",
    "dead": "red",
    "cancelled": "bright_black",
    "scheduled": "yellow",
    "waiting": "yellow",
    "working": "green",
    "quiet": "yellow",
    "blocked": "red",
    "stopping": "yellow",
}
"""Of the states of jobs and workers; ready has that of the text."""

Cells = list[list[str]]


def coloured() -> bool:
    """Whether to write in colour: on a terminal, unless NO_COLOR or --no-color says otherwise."""
    context = click.get_current_context(silent=True)
    wanted = context is None or context.color is not False
    return wanted and sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = (), drop: Sequence[str] = ()
) -> None:
    """Print it. `right`: columns aligned to the right; `drop`: those that go first where the terminal is too narrow."""
    cells = [[line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for text in drawn(headers, cells, right):
            click.echo(text)
        return
    shown, cells = fitted(headers, shortened(headers, cells), shutil.get_terminal_size().columns, drop)
    for text in drawn(shown, cells, right, painted if coloured() else None):
        click.echo(text)


def shortened(headers: Sequence[str], cells: Cells) -> Cells:
    """With short ids in the columns that hold ids."""
    places = [place for place, header in enumerate(headers) if header in ("id", "last job")]
    for row in cells:
        for place in places:
            row[place] = short(row[place])
    return cells


def fitted(headers: Sequence[str], cells: Cells, width: int, drop: Sequence[str] = ()) -> tuple[list[str], Cells]:
    """The columns and cells that fit into so many characters: columns are dropped before the text of any is cut."""
    left = [place for place in range(len(headers)) if not place or any(row[place] for row in cells)]
    wide = [max(map(width_of, column)) for column in zip(headers, *cells, strict=True)]
    gone = [place for name in drop for place in left if headers[place] == name]

    def needed(last: int) -> int:
        return sum(wide[place] for place in left[:-1]) + min(wide[left[-1]], last) + GAP * (len(left) - 1)

    while gone and needed(READABLE) > width:
        left.remove(gone.pop(0))
    widest = {place: wide[place] for place in left}
    widest[left[-1]] = max(NARROWEST, min(widest[left[-1]], width - needed(0)))
    while sum(widest.values()) + GAP * (len(left) - 1) > width:
        longest = max(left, key=widest.__getitem__)
        if widest[longest] <= NARROWEST:
            break
        widest[longest] -= 1
    return [cut(headers[place], widest[place]) for place in left], [
        [cut(row[place], widest[place]) for place in left] for row in cells
    ]


def drawn(
    headers: Sequence[str], cells: Cells, right: Collection[str], paint: Callable[[str, str], str] | None = None
) -> Iterator[str]:
    """The lines of the table. `paint` is given each cell's column, "" for the headers, and its text."""
    widths = [max(map(width_of, column)) for column in zip(headers, *cells, strict=True)]
    for number, row in enumerate([list(headers), *cells]):
        texts = []
        for header, cell, width in zip(headers, row, widths, strict=True):
            pad = " " * (width - width_of(cell))
            text = cell if paint is None else paint(header if number else "", cell)
            texts.append(pad + text if header in right else text + pad)
        yield (" " * GAP).join(texts).rstrip()


def painted(column: str, text: str) -> str:
    """A cell in its colour."""
    if not column:
        return click.style(text, bold=True)
    if column == "dead":
        return text if text in ("0", "–") else click.style(text, fg=COLOURS["dead"])
    colour = COLOURS.get(text) if column == "state" else None
    return click.style(text, fg=colour) if colour else text


def cut(text: str, width: int) -> str:
    """The text, or its beginning and "…" where there is no room for all of it."""
    if width_of(text) <= width:
        return text
    while width_of(text) > width - 1:
        text = text[:-1]
    return text + "…"


def width_of(text: str) -> int:
    """How many characters wide a terminal shows it: some are two wide, and accents none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)
