"""A job as a small piece of HTML: what a notebook shows of a handle. Everything that jobs say is text in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from typing import Protocol
from urllib.parse import quote

from longboat.core import codec
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import LongboatError, Undecodable

LONGEST = 500
"""Characters of a result, an error or a text, at most."""


class Progress(Protocol):
    """As a handle's."""

    done: float
    total: float | None
    text: str


class Shown(Protocol):
    """What is shown: a handle."""

    id: str
    task: str

    def view(self) -> JobView: ...
    def progress(self) -> Progress | None: ...


def card(handle: Shown) -> str:
    """Asks the broker. Never raises one of our own errors: what cannot be told says why."""
    try:
        view = handle.view()
        progress = None if view.state is State.SUCCEEDED else handle.progress()
        lines = [*_lines(view, progress)]
        task, state = view.task, view.state.value
    except LongboatError as error:
        lines, task, state = [_text(str(error))], handle.task, "unknown"
    head = f"<b>{_text(task or 'job')}</b> <code>{_text(handle.id)}</code> <b>{_text(state)}</b>"
    return "".join(f"<div>{line}</div>" for line in (head, *lines, _where(handle.id)))


def _lines(view: JobView, progress: Progress | None) -> Iterator[str]:
    said = [f"queue {view.queue}"] + ([f"attempt {view.attempts}"] if view.attempts else [])
    said += [f"on {view.worker}"] if view.worker else []
    yield _text(", ".join(said))
    if progress is not None:
        number = f"{progress.done:g}" + (f" of {progress.total:g}" if progress.total else "")
        of = f' value="{progress.done:g}" max="{progress.total:g}"' if progress.total else ""
        yield f"<progress{of}></progress> {number} {_text(progress.text)}"
    if view.state is State.SUCCEEDED:
        yield f"<code>{_text(_result(view.result))}</code>"
    elif view.failures:
        last = view.failures[-1]
        yield f"<code>{_text(f'{last.type}: {last.message}')}</code>"


def _result(data: bytes | None) -> str:
    try:
        return repr(codec.decode(data or codec.NONE))
    except Undecodable as error:
        return str(error)


def _where(job_id: str) -> str:
    """A link to the dashboard's page of the job, where LONGBOAT_PAGES says how that is reached; else the command."""
    pages = os.environ.get("LONGBOAT_PAGES", "")
    if not pages.startswith(("http://", "https://")):
        return f"<code>longboat jobs show {_text(job_id)}</code>"
    return f'<a href="{escape(pages.rstrip("/"))}/jobs/{escape(quote(job_id, safe=""))}" target="_blank">more</a>'


def _text(text: str) -> str:
    return escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")
