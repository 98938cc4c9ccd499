"""Pages of jobs: how many rows a page looks at, the page made of them, and the cursor that the next one begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from longboat.core.views import JobView, Page
from longboat.errors import ConfigError

T = TypeVar("T")

Position = list[str | int | float]
"""Where a page ended, in the order of the state's jobs."""

LOOKED_AT = 1000
"""Rows that one page of a single task looks at, at most."""


def window(limit: int, task: str | None) -> int:
    """Rows that a page looks at. A broker reads one more, which tells whether there is another page."""
    return max(1, limit) if task is None else max(limit, LOOKED_AT)


def page_of(
    rows: Sequence[T], limit: int, task: str | None, view: Callable[[T], JobView | None], cursor: Callable[[T], str]
) -> Page:
    """The page made of these rows: up to `window` and one more. A row without a view has left the state meanwhile."""
    limit, size = max(1, limit), window(limit, task)
    jobs: list[JobView] = []
    for seen, row in enumerate(rows[:size], 1):
        job = view(row)
        if job is not None and task in (None, job.task):
            jobs.append(job)
        if len(jobs) == limit and seen < len(rows):
            return Page(jobs, cursor(row))
    return Page(jobs, cursor(rows[size - 1]) if len(rows) > size else None)


def cursor_of(*position: str | int | float) -> str:
    """The `after` of a page that ends here."""
    return msgspec.json.encode(position).decode()


def position_of(after: str | None, *kinds: type[str] | type[int] | type[float]) -> Position | None:
    """Where the page with this `after` ended; None at the start. Raises ConfigError for all but these kinds of values."""
    if after is None:
        return None
    try:
        position = msgspec.json.decode(after, type=Position)
    except (msgspec.MsgspecError, ValueError):
        position = []
    if len(position) != len(kinds) or not all(
        isinstance(value, (int, float) if kind is float else kind) for value, kind in zip(position, kinds, strict=True)
    ):
        raise ConfigError(f"after: {after!r} is not the `after` of a page of these jobs.")
    return position


def batches(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Up to `size` of them at a time, in order."""
    return (things[start : start + size] for start in range(0, len(things), size))
