"""Waiting for a result so that Ctrl-C ends it cleanly, and so that nobody wonders what it waits for."""

from __future__ import annotations

import math
import shutil
import sys
import threading
from contextlib import suppress
from typing import TypeVar

import click

from longboat.cli.fail import line
from longboat.cli.table import cut
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.errors import LongboatError
from longboat.observe.words import span
from longboat.tasks.handle import Handle, Progress

T = TypeVar("T")

LOOK = 0.2
"""Seconds: a signal that arrives just before the main thread blocks is only noticed when the thread wakes up."""

TOLD = 2.0
"""Seconds after which to say why the job has not ended."""

DRAWN = 0.5
"""Seconds between two looks at how far it is."""

BAR = 20
"""Characters of a bar."""


def result_of(handle: Handle[T], timeout: float | None) -> T:
    """Its result. It is waited for in another thread: Ctrl-C interrupts the waiting, never the call itself.

    A terminal shows meanwhile how far the job is. Elsewhere, why it has not ended after two seconds is told on standard
    error. Raises as `Handle.result`.
    """
    returned: list[T] = []
    raised: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            returned.append(handle.result(timeout))
        except BaseException as error:
            raised.append(error)
        finally:
            over.set()

    threading.Thread(target=run, name="longboat-wait", daemon=True).start()
    tell_at = SYSTEM.monotonic() + TOLD if timeout is None or timeout > TOLD else math.inf
    drawn = _Drawn(handle) if sys.stderr.isatty() else None
    while not over.wait(LOOK):
        if drawn is not None:
            drawn.draw()
        elif SYSTEM.monotonic() >= tell_at:
            tell_at = math.inf
            with suppress(LongboatError):  # whoever waits hears of it too
                click.echo(line(f"Waiting: {handle.client.why(handle.id)}."), err=True)
    if drawn is not None:
        drawn.clear()
    if raised:
        raise raised[0]
    return returned[0]


class _Drawn:
    """A line on the terminal that says how far a job is."""

    def __init__(self, handle: Handle[T]) -> None:
        self._handle = handle
        self._began = SYSTEM.monotonic()
        self._draw_at = self._began
        self._why = ""
        self._ask_at = self._began + TOLD
        self._there = False

    def draw(self) -> None:
        """At most twice a second."""
        now = SYSTEM.monotonic()
        if now < self._draw_at:
            return
        self._draw_at = now + DRAWN
        text = f"waiting, {span(now - self._began)}"
        with suppress(LongboatError):
            text = self._said(now)
        self._there = True
        click.echo(f"\r\x1b[K{cut(line(text), shutil.get_terminal_size().columns - 1)}", nl=False, err=True)

    def _said(self, now: float) -> str:
        state, taken = self._handle.view().state, span(now - self._began)
        if state is State.RUNNING:
            done = self._handle.progress()
            return f"running, {taken}" if done is None else f"running, {taken}  {_bar(done)}  {done.text}"
        if now >= self._ask_at:
            self._ask_at = now + TOLD
            self._why = self._handle.client.why(self._handle.id)
        return f"{state}, {taken}{': ' if self._why else ''}{self._why}"

    def clear(self) -> None:
        if self._there:
            click.echo("\r\x1b[K", nl=False, err=True)


def _bar(progress: Progress) -> str:
    if not progress.total:
        return f"{progress.done:g}"
    share = min(1.0, max(0.0, progress.done / progress.total))
    return f"[{'#' * round(share * BAR):-<{BAR}}] {progress.done:g} of {progress.total:g}"
