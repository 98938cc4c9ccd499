"""The steps of a run: after each line of the program's own code, a worker could die."""

from __future__ import annotations

import contextlib
import inspect
import linecache
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

from longboat.worker.inline import WorkerKilled

TIMES = 2
"""How often one line is a step: the first times. Whatever goes wrong in a loop does so in its second round at the latest."""

_SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_NOT_OWN = tuple(
    os.path.join(os.path.realpath(path), "")
    for path in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        os.path.dirname(os.path.dirname(__file__)),
    }
)


class Step(NamedTuple):
    """A line that has run."""

    file: str
    line: int
    nth: int
    """1: the first time."""

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        again = " (the second time)" if self.nth > 1 else ""
        return f"{os.path.basename(self.file)}:{self.line}: {self.text}{again}"


class Steps:
    """Traces one run in this thread. `at` is told each step once its line has run, and may raise WorkerKilled.

    A step is each line of the task's function, and of what it calls, that is the program's own: neither Python's, nor an
    installed package's. What else traces this thread, such as coverage or a debugger, sees nothing meanwhile.
    """

    def __init__(self, at: Callable[[Step], None]) -> None:
        self.dead = False
        """The worker died here, whatever the function made of that."""
        self._at = at
        self._own: dict[CodeType, bool] = {}
        self._last: dict[FrameType, int] = {}
        """The line that runs now, by frame."""
        self._times: Counter[tuple[str, int]] = Counter()

    @contextlib.contextmanager
    def traced(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)
            self._last.clear()

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ARG002  # as sys.settrace calls it
        code = frame.f_code
        own = self._own.get(code)
        if own is None:
            own = self._own[code] = _is_own(code.co_filename)
        return self._stepped if own else None

    def _stepped(self, frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ARG002  # as sys.settrace calls it
        if event == "line":
            before = self._last.get(frame)
            self._last[frame] = frame.f_lineno
            if before is not None:
                self._ran(frame, before)
        elif event == "return" and not frame.f_code.co_flags & _SUSPENDS and (before := self._last.pop(frame, None)):
            self._ran(frame, before)
        return self._stepped

    def _ran(self, frame: FrameType, line: int) -> None:
        place = frame.f_code.co_filename, line
        self._times[place] += 1
        if self._times[place] <= TIMES:
            try:
                self._at(Step(*place, self._times[place]))
            except WorkerKilled:
                self.dead = True
                raise


def recorded(into: list[Step]) -> Steps:
    """Notes each step."""
    return Steps(into.append)


def deadly(number: int) -> Steps:
    """The worker dies after the step of this number, counted from 0."""
    left = [number]

    def at(step: Step) -> None:  # noqa: ARG001  # whatever the step
        left[0] -= 1
        if left[0] == -1:
            raise WorkerKilled

    return Steps(at)


def deadly_after(text: str) -> Steps:
    """The worker dies after a line that has this text."""

    def at(step: Step) -> None:
        if text in step.text:
            raise WorkerKilled

    return Steps(at)


def _is_own(file: str) -> bool:
    return not file.startswith("<") and not os.path.realpath(file).startswith(_NOT_OWN)
