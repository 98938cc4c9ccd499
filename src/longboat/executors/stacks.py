"""Where a running function is: its stack as a traceback shows it, taken from another thread while it runs."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

DEEPEST = 50
"""Frames of a stack that are shown, at most: the innermost."""
PATIENCE = 0.3
"""Seconds for which a child process is waited for."""
_PLACE = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.M)


def of_thread(thread: int | None, caller: str) -> str:
    """What the thread with this identifier does, within the functions of the file `caller`; empty if it is gone."""
    frame = sys._current_frames().get(thread or 0)
    return _shown(_outwards(frame), caller)


def of_coroutine(coroutine: Any, caller: str) -> str:
    """Where a coroutine waits, or is at work at this moment, in whichever thread that is."""
    frames = [*_inwards(coroutine)][::-1]
    if isinstance(coroutine, CoroutineType) and coroutine.cr_running:
        for top in sys._current_frames().values():
            inner = [*_outwards(top)]
            if coroutine.cr_frame in inner:
                frames = inner[: inner.index(coroutine.cr_frame) + 1]
    return _shown(frames, caller)


def tell_on_signal() -> int:
    """Have SIGUSR2 write where this process is to a file in memory, whatever it does at that moment.

    Returns the file's descriptor; 0 elsewhere than on Linux, which has no such files.
    """
    if sys.platform != "linux":
        return 0
    file = os.memfd_create("longboat-stack")
    fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
    faulthandler.register(signal.SIGUSR2, file=file, all_threads=False)
    return file


def of_process(pid: int, file: int, caller: str) -> str:
    """What another process of ours writes when it is asked; empty if it does not within PATIENCE."""
    if not file:
        return ""
    try:
        with open(f"/proc/{pid}/fd/{file}", "r+b", buffering=0) as told:
            told.truncate(0)
            os.kill(pid, signal.SIGUSR2)
            text, before, end = b"", b"", time.monotonic() + PATIENCE
            while (not text or text != before) and time.monotonic() < end:  # it comes in pieces
                time.sleep(0.005)
                told.seek(0)
                text, before = told.read(), text
    except OSError:  # it is gone
        return ""
    return _innermost_first(text.decode(errors="replace"), caller)


def _innermost_first(text: str, caller: str) -> str:
    """What faulthandler writes, as a traceback shows it."""
    found: list[traceback.FrameSummary] = []
    for path, number, name in _PLACE.findall(text):
        if path == caller:
            break
        found.append(traceback.FrameSummary(path, int(number), name))
    return "".join(traceback.StackSummary.from_list(found[:DEEPEST][::-1]).format())


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _inwards(awaited: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of what it awaits, the outermost first."""
    while True:
        if isinstance(awaited, CoroutineType):
            frame, awaited = awaited.cr_frame, awaited.cr_await
        elif isinstance(awaited, GeneratorType):
            frame, awaited = awaited.gi_frame, awaited.gi_yieldfrom
        elif isinstance(awaited, AsyncGeneratorType):
            frame, awaited = awaited.ag_frame, awaited.ag_await
        else:
            return
        if frame is not None:
            yield frame


def _shown(innermost_first: Iterable[FrameType], caller: str) -> str:
    """What the functions in the file `caller` have called, and what that has."""
    called = takewhile(lambda frame: frame.f_code.co_filename != caller, innermost_first)
    frames = list(islice(called, DEEPEST))[::-1]
    return "".join(traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames).format())
