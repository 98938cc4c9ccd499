"""`longboat top` on a terminal: what is looked up in the background, what is drawn of it, and what the keys do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from longboat.cli import show
from longboat.cli.fail import line
from longboat.cli.screen import Screen
from longboat.cli.table import cut, drawn, fitted, painted, shortened, width_of
from longboat.cli.views import VIEWS, Table, dead_of, jobs_of, looked_up, totals
from longboat.core.text import counted
from longboat.errors import LongboatError
from longboat.operate import bulk, pauses
from longboat.operate.audit import Act, here, told
from longboat.operate.search import Query, written

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

HELP = """\
1 2 3 4 5, tab   queues, jobs, workers, failures, tasks
up down          choose a row; page up, page down, home and end too
enter            the jobs of the queue, worker, failure or task; all of a job
escape           back
p                pause the queue or the task, or resume it
r                retry the dead job, or all dead jobs of the queue, failure or task
q, Ctrl-C        quit
? h              this help
"""
FEW = 0.1
"""Seconds between two looks at what the background has found."""
HEAD = 4
"""Lines above the rows."""

Look = Callable[[], dict[str, Any]]


class Looker:
    """Looks things up in a thread of its own, so that keys never wait for the broker, and does there what keys ask for."""

    def __init__(self, broker: Broker, look: Look, every: float) -> None:
        self.broker = broker
        self.view, self.query = "queues", Query()
        self.found: dict[str, Any] | None = None
        self.said = ""
        """What went wrong or was done last."""
        self._look = look
        self._every = every
        self._asked: SimpleQueue[Callable[[], str] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="longboat-top", daemon=True).start()

    def ask(self, work: Callable[[], str] | None = None) -> None:
        """Do this, and look again at once; what it returns is said."""
        self._asked.put(work)

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self.found = {**self._look(), **looked_up(self.broker, self.view, self.query), "view": self.view}
                self.said = "" if self.said.startswith("Error: ") else self.said
            except LongboatError as error:
                self.said = f"Error: {error}"
            while True:
                try:
                    work = self._asked.get(timeout=max(0.0, began + self._every - time.monotonic()))
                except Empty:
                    break
                if work is None:
                    break
                try:
                    self.said = work()
                except LongboatError as error:
                    self.said = f"Error: {error}"
                break


class Live:
    """The screen as it is: the view, the row that is chosen, and what is asked."""

    def __init__(self, screen: Screen, looker: Looker, url: str, *, colours: bool) -> None:
        self._screen = screen
        self._looker = looker
        self._url = url
        self._colours = colours
        self._row = 0
        self._key = ""
        """What the chosen row is about, so that it stays chosen wherever it moves."""
        self._text: Sequence[str] | None = None
        """Shown instead of the table: the help, or all of a job."""
        self._scrolled = 0
        """Lines of the text above the screen."""
        self._came_from = "queues"
        """The view to which escape leads from the jobs of something."""
        self._question: tuple[str, Callable[[], str]] | None = None

    def run(self) -> None:
        """Until somebody quits."""
        shown: tuple[Any, ...] = ()
        while True:
            now = (
                self._looker.found,
                self._looker.said,
                self._row,
                self._key,
                self._text,
                self._question,
                self._screen.size,
            )
            if now != shown:
                self._screen.draw([*self._lines()])
                shown = now
            key = self._screen.key(FEW)
            if key == "q" and not self._question:
                return
            if key:
                self._press(key)
                shown = ()

    # --- keys

    def _press(self, key: str) -> None:
        self._looker.said = ""
        if self._question is not None:
            (_, work), self._question = self._question, None
            if key == "y":
                self._looker.ask(work)
        elif key in ("?", "h"):
            self._show(HELP.splitlines() if self._text is None else None)
        elif key == "escape":
            self._back()
        elif key == "tab" or (key.isdecimal() and 0 < int(key) <= len(VIEWS)):
            names = [*VIEWS]
            self._go(names[(names.index(self._looker.view) + 1) % len(names) if key == "tab" else int(key) - 1])
        elif key in _STEPS:
            self._move(key)
        elif self._text is None and self._key:
            {"enter": self._enter, "p": self._pause, "r": self._retry}.get(key, lambda: None)()

    def _go(self, view: str, query: Query | None = None) -> None:
        self._came_from = self._looker.view
        self._looker.view, self._looker.query = view, query or Query()
        self._row, self._key = 0, ""
        self._show(None)
        self._looker.ask()

    def _back(self) -> None:
        if self._text is not None:
            self._show(None)
        elif self._looker.query != Query():
            self._go(self._came_from)

    def _show(self, text: Sequence[str] | None) -> None:
        self._scrolled, self._text = 0, text

    def _move(self, key: str) -> None:
        page = max(1, self._screen.size[1] - HEAD - 1)
        step = _STEPS[key] * (page if "page" in key else 1)
        if self._text is not None:
            self._scrolled = max(0, min(self._scrolled + step, len(self._text) - page))
        else:
            self._row, self._key = max(0, self._row + step), ""

    def _enter(self) -> None:
        view, key = self._looker.view, self._key
        if view == "jobs":
            broker = self._looker.broker

            def look() -> str:
                found = broker.inspector.find([key])[0]
                if found is None:
                    return f"job {key} is gone"
                self._show([*show.details(found)])
                return ""

            self._looker.ask(look)
        elif (query := jobs_of(view, key)) is not None:
            self._go("jobs", query)

    def _pause(self) -> None:
        view, key, broker = self._looker.view, self._key, self._looker.broker
        if view not in ("queues", "tasks"):
            self._looker.said = "queues and tasks can be paused"
            return
        kind: pauses.Kind = "queue" if view == "queues" else "task"

        def work() -> str:
            paused = key not in pauses.paused(broker.kv)[kind]
            if pauses.pause(broker.kv, kind, key, paused):
                verb, became = ("pause", "paused") if paused else ("resume", "resumed")
                told(broker, here("command line"), verb, f"{kind} {key} {became}")
            return f"{kind} {key} is {'paused; p resumes it' if paused else 'resumed'}"

        self._looker.ask(work)

    def _retry(self) -> None:
        query, broker = dead_of(self._looker.view, self._key), self._looker.broker
        if query is None:
            self._looker.said = "workers have no dead jobs"
            return

        def work() -> str:
            act, ids = Act(broker, here("command line"), "retry"), bulk.choose(broker, query).ids
            done = bulk.carry_out(broker, "retry", query, ids, advance=lambda so_far, _: act.mark(so_far.changed))
            act.tell(f"{done.done:,} of {counted(len(ids), 'dead job')} retried: {written(query)}")
            return f"retried {counted(done.done, 'dead job')}{act.wrong}"

        self._question = f"Retry the dead jobs of {written(query)}? y/n", work

    # --- drawing

    def _lines(self) -> Iterator[str]:
        width, height = self._screen.size
        found, room = self._looker.found, max(1, height - HEAD - 1)
        yield _bold(cut(f"longboat top  {self._url}  {time.strftime('%H:%M:%S')}", width))
        yield cut("looking…" if found is None else totals(found, width), width)
        yield self._tabs(width)
        if self._text is not None:
            body = ["", *(cut(each, width) for each in self._text[self._scrolled : self._scrolled + room])]
        elif found is None or found["view"] != self._looker.view:
            body = []
        else:
            body = [*self._body(found, width, room)]
        yield from (body + [""] * (room + 1))[: room + 1]
        said = self._question[0] if self._question else line(self._looker.said)
        yield cut(said or "enter jobs  p pause  r retry  ? help  q quit", width)

    def _tabs(self, width: int) -> str:
        tabs = [f" {number} {name} " for number, name in enumerate(VIEWS, 1)]
        query = written(self._looker.query)
        if sum(map(len, tabs)) > width:
            return cut("".join(tabs), width)
        shown = [_reversed(tab) if name == self._looker.view else tab for tab, name in zip(tabs, VIEWS, strict=True)]
        return "".join(shown) + cut(f"  {query}" if query else "", width - sum(map(len, tabs)))

    def _body(self, found: dict[str, Any], width: int, room: int) -> Iterator[str]:
        """The header, and the rows around the one that is chosen."""
        table: Table = VIEWS[self._looker.view](found)
        if not table.rows:
            self._key = ""
            yield ""
            yield f"no {table.title}"
            return
        if self._key in table.keys:
            self._row = table.keys.index(self._key)
        self._row = min(self._row, len(table.rows) - 1)
        self._key = table.keys[self._row]
        first = max(0, min(self._row - room // 2, len(table.rows) - room))
        cells = [[line(cell) for cell in row] for row in table.rows]
        columns, cells = fitted(table.columns, shortened(table.columns, cells), width, table.drop)
        plain = [*drawn(columns, cells, table.right)]
        colourful = [*drawn(columns, cells, table.right, painted)] if self._colours else plain
        yield _bold(plain[0])
        for place in range(first, min(first + room, len(cells))):
            text = plain[place + 1]
            yield _reversed(text + " " * (width - width_of(text))) if place == self._row else colourful[place + 1]


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _reversed(text: str) -> str:
    return click.style(text, reverse=True)


_STEPS = {"up": -1, "down": 1, "page up": -1, "page down": 1, "home": -(10**9), "end": 10**9}


def run(broker: Broker, look: Look, url: str, every: float, source: int, target: int, *, colours: bool) -> None:
    """Show it on this terminal until somebody quits."""
    with Screen(source, target) as screen:
        Live(screen, Looker(broker, look, every), url, colours=colours).run()
