"""Tracebacks: the text that Python prints, from places that were formatted before."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import TracebackType

import pytest

from longboat.executors import traces
from longboat.executors.traces import DEEPEST, traced


def plain(depth: int) -> None:
    if depth:
        return other(depth - 1)
    raise ValueError("several\nlines")


def other(depth: int) -> None:
    plain(depth) if depth else plain(0)


def noted() -> None:
    error = KeyError("key")
    error.add_note("look there")
    raise error


def chained() -> None:
    try:
        plain(0)
    except ValueError as error:
        raise RuntimeError("then") from error


def during() -> None:
    try:
        plain(0)
    except ValueError:
        {}["missing"]  # type: ignore[index]  # it is to raise


def suppressed() -> None:
    try:
        plain(0)
    except ValueError:
        raise LookupError from None


def grouped() -> None:
    raise ExceptionGroup("several", [ValueError(1), TypeError(2)])


def endless() -> None:
    endless()


def misspelt() -> None:
    "".uper()  # type: ignore[attr-defined]


def unreadable() -> None:
    exec(compile("def f():\n  raise OSError(2, 'gone')\nf()", "<nowhere>", "exec"), {})


@pytest.mark.parametrize(
    "fails",
    [
        lambda: plain(0),
        lambda: plain(20),
        lambda: plain(2 * DEEPEST),
        *(noted, chained, during, suppressed, grouped, endless, misspelt, unreadable),
    ],
)
def test_it_is_what_python_prints(fails: Callable[[], None]) -> None:
    for _ in range(2):  # the second time from what is known
        error, frames = raised(fails)
        assert traced(error, frames) == "".join(traceback.format_exception(type(error), error, frames, limit=-DEEPEST))


def test_what_was_never_raised_has_no_frames() -> None:
    assert traced(ValueError("x"), None) == "ValueError: x\n"


def test_what_is_kept_in_mind_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "KNOWN", 3)
    known: dict[tuple[int, int], object] = {}
    monkeypatch.setattr(traces, "_known", known)
    for _ in range(5):
        traced(*raised(unreadable))
    assert 0 < len(known) <= 3


def raised(fails: Callable[[], None]) -> tuple[Exception, TracebackType | None]:
    try:
        fails()
    except Exception as error:
        return error, error.__traceback__
    raise AssertionError("it did not fail")
