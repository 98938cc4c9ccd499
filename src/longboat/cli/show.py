"""Output: tables, JSON, and jobs in words."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
import msgspec

from longboat.cli.fail import line
from longboat.core import codec
from longboat.core.job import Failure, State
from longboat.core.views import JobView
from longboat.errors import Undecodable


def as_json(value: Any) -> str:
    """Any plain data as JSON; what JSON has no word for is written as Python shows it."""
    try:
        return msgspec.json.encode(value, enc_hook=repr).decode()
    except (TypeError, ValueError, UnicodeError, RecursionError):
        return msgspec.json.encode(repr(value).encode(errors="replace").decode()).decode()


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[str] = frozenset()) -> None:
    """With rich where it is installed and standard output is a terminal, else plain text in columns; `right`: aligned so."""
    cells = [[line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
            for header in headers:
                whole = header in ("id", "state")  # an id is there to be copied
                drawn.add_column(header, justify="right" if header in right else "left", overflow="fold", no_wrap=whole)
            for row in cells:
                drawn.add_row(*map(Text, row))
            Console().print(drawn)
            return
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for row in [list(headers), *cells]:
        padded = [
            cell.rjust(width) if header in right else cell.ljust(width)
            for cell, width, header in zip(row, widths, headers, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


COLUMNS = ("id", "state", "queue", "task", "attempts", "age", "detail")


def row(job: JobView) -> list[str]:
    """A job as a row of COLUMNS."""
    now = time.time()
    age = "" if job.enqueued is None else span(now - job.enqueued)
    return [job.id, job.state.value, job.queue, job.task, str(job.attempts), age, _detail(job, now)]


def _detail(job: JobView, now: float) -> str:
    last = _reason(job.failures[-1]) if job.failures else ""
    if job.state is State.SCHEDULED:
        due = "due" if job.due is None or job.due <= now else f"in {span(job.due - now)}"
        return f"{due}, after {last}" if last else due
    if job.state is State.RUNNING:
        return f"on {job.worker} for {span(now - (job.started or now))}"
    if job.state is State.SUCCEEDED:
        ended = job.ended or now
        return f"{span(now - ended)} ago"
    return last


def _reason(failure: Failure) -> str:
    text = f"{failure.type}: {failure.message}"
    return text if len(text) <= 100 else text[:99] + "…"


def span(length: float) -> str:
    """A duration in two letters or so: 5s, 12m, 3h, 4d."""
    length = max(0.0, length)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if length >= 2 * size:
            return f"{length // size:.0f}{unit}"
    return f"{length:.0f}s"


def plain(job: JobView) -> dict[str, Any]:
    """A job as plain data: what JobView holds, its arguments as `args` and its result decoded."""
    found = {name: getattr(job, name) for name in job.__struct_fields__ if name not in ("payload", "result", "failures")}
    found["state"] = job.state.value
    found["args"] = decoded(job.payload)
    found["constraints"] = None if job.constraints is None else msgspec.structs.asdict(job.constraints)
    found["result"] = None if job.result is None else decoded(job.result)
    found["failures"] = [msgspec.structs.asdict(failure) for failure in job.failures]
    return found


def decoded(data: bytes) -> Any:
    """The value in some bytes; of such as hold none, the text, or as Python shows them."""
    try:
        return codec.decode(data)
    except Undecodable:
        try:
            return data.decode()
        except UnicodeDecodeError:
            return repr(data)


def details(job: JobView) -> Iterator[str]:
    """All of a job, line by line."""
    for name, value in plain(job).items():
        if name == "failures" or value is None or value in ("", {}):
            continue
        if name in ("enqueued", "due", "started", "ended"):
            value = moment(value)
        yield f"{name + ':':<12}{line(value if isinstance(value, str) else as_json(value))}"
    for failure in job.failures:
        by = f" on {failure.worker}" if failure.worker else ""
        yield f"\nattempt {failure.attempt}, {moment(failure.at)}{by}: {line(failure.type)}: {line(failure.message)}"
        for text in failure.traceback.rstrip().splitlines():
            yield "  " + "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)


def moment(at: float) -> str:
    """A wall-clock time as people here read it."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return repr(at)


def written(value: Any) -> str:
    """A result as text for a shell: a string as it is, the rest as JSON."""
    return value if isinstance(value, str) else as_json(value)
