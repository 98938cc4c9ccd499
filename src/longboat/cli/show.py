"""Output: tables, JSON, and jobs in words."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import click
import msgspec

from longboat.cli.address import nothing
from longboat.cli.fail import line
from longboat.cli.table import table
from longboat.core import codec
from longboat.core.job import State
from longboat.core.text import each_line_escaped, escaped, escaped_json
from longboat.core.views import JobView
from longboat.errors import Undecodable
from longboat.observe.words import span
from longboat.operate.audit import AuditEntry
from longboat.operate.job_data import job_data


def to_json(value: Any) -> str:
    """Any plain data as JSON; what JSON has no word for is written as Python shows it."""
    try:
        return escaped_json(msgspec.json.encode(value, enc_hook=repr).decode())
    except (TypeError, ValueError, UnicodeError, RecursionError):
        return escaped_json(msgspec.json.encode(repr(value).encode(errors="replace").decode()).decode())


def number(value: int | None) -> str:
    """4,310; – if it is not known."""
    return "–" if value is None else f"{value:,}"


def items(
    columns: Sequence[str],
    found: Iterable[tuple[Any, Sequence[str]]],
    none: str,
    *,
    as_json: bool,
    right: Collection[str] = (),
    drop: Sequence[str] = (),
) -> None:
    """A list of things, each given as a document and as a row: a line of JSON each, or a table."""
    cells = []
    for document, cells_of in found:
        if as_json:
            click.echo(to_json(document))
        else:
            cells.append(cells_of)
    if not as_json:
        rows(columns, cells, none, right=right, drop=drop)


def rows(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    none: str,
    *,
    right: Collection[str] = (),
    drop: Sequence[str] = (),
) -> None:
    """A table, or `none` if it would be empty."""
    if cells:
        table(columns, cells, right=right, drop=drop)
    else:
        nothing(none)


COLUMNS = ("id", "state", "queue", "task", "attempts", "age", "detail")
RIGHT = ("attempts", "age")
DROP = ("attempts", "queue", "age")


def row(job: JobView) -> list[str]:
    """A job as a row of COLUMNS."""
    now = time.time()
    age = "" if job.enqueued is None else span(now - job.enqueued)
    return [job.id, job.state.value, job.queue, job.task, str(job.begun), age, _detail(job, now)]


def _detail(job: JobView, now: float) -> str:
    text = f"{job.failures[-1].type}: {job.failures[-1].message}" if job.failures else ""
    last = text if len(text) <= 100 else text[:99] + "…"
    if job.state is State.SCHEDULED:
        due = "due" if job.due is None or job.due <= now else f"in {span(job.due - now)}"
        return f"{due}, after {last}" if last else due
    if job.state is State.RUNNING:
        return f"on {job.worker} for {span(now - (job.started or now))}"
    if job.state is State.SUCCEEDED:
        return f"{span(now - (job.ended or now))} ago"
    return last


def plain(job: JobView) -> dict[str, Any]:
    """A job as plain data."""
    return job_data(job, lambda data: (decoded(data), ""))


def decoded(data: bytes) -> Any:
    """The value in some bytes; if they hold none, their text, or the bytes as Python shows them."""
    try:
        return codec.decode(data)
    except Undecodable:
        try:
            return data.decode()
        except UnicodeDecodeError:
            return repr(data)


def details(job: JobView, acts: Sequence[AuditEntry] = ()) -> Iterator[str]:
    """All of a job, and what people did to it, line by line."""
    for name, value in plain(job).items():
        if name == "failures" or value is None or value in ("", {}):
            continue
        if name in ("enqueued", "due", "started", "ended"):
            value = moment(value)
        yield f"{name + ':':<12}{line(value if isinstance(value, str) else to_json(value))}"
    for act in acts:
        yield line(f"{act.became} by {act.by} at {moment(act.at)}{f': {act.reason}' if act.reason else ''}")
    for failure in job.failures:
        by = f" on {failure.worker}" if failure.worker else ""
        yield f"\nattempt {failure.attempt}, {moment(failure.at)}{by}: {line(failure.type)}: {line(failure.message)}"
        for text in failure.traceback.rstrip().splitlines():
            yield "  " + escaped(text.expandtabs(4))


def moment(at: float, how: str = "%Y-%m-%d %H:%M:%S %z") -> str:
    """A wall-clock time in the local time zone."""
    try:
        return time.strftime(how, time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return repr(at)


def result(value: Any) -> None:
    """Print a result for a shell: a string as it is, but on a terminal escaped; anything else as JSON."""
    text = value if isinstance(value, str) else to_json(value)
    # color: else click takes escape sequences out of what goes into a pipe
    click.echo(each_line_escaped(text) if sys.stdout.isatty() else text, color=True)
