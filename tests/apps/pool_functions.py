"""Functions that executors run, here and elsewhere."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


class OutOfPaper(Exception):
    """A class that takes no message."""

    def __init__(self, tray: int, left: int) -> None:
        super().__init__(tray, left)
        self.tray = tray


@dataclass
class Point:
    x: int
    y: int


def square(number: int) -> int:
    return number * number


def mirrored(point: Point) -> Point:
    return Point(point.y, point.x)


async def greeted(name: str) -> str:
    return f"hello {name}"


def fail(kind: str) -> None:
    errors = {
        "key": KeyError("shelf"),
        "value": ValueError("too large"),
        "file": FileNotFoundError(2, "No such file or directory", "paper.txt"),
        "own": OutOfPaper(3, 0),
        "exit": SystemExit(4),
    }
    if kind == "local":

        class Local(Exception):
            pass

        raise Local("hidden")
    raise errors[kind]


def odd() -> object:
    return object()


def wait_for(path: str, value: int = 0) -> int:
    """Wait until the file is there."""
    while not Path(path).exists():
        time.sleep(0.01)
    return value


def marked(folder: str, number: int) -> int:
    """Say which process runs this, then take a moment."""
    Path(folder, f"{number}-{time.monotonic_ns()}").write_text(str(os.getpid()))
    time.sleep(0.1)
    return number


def die(folder: str, times: int) -> int:
    """Kill this process so many times, and return then."""
    runs = len(list(Path(folder).iterdir()))
    if runs < times:
        Path(folder, str(runs)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return runs


STARTED: list[str] = []


def start(name: str) -> None:
    """An initializer."""
    if name == "bad":
        raise ValueError("no licence")
    STARTED.append(name)


def started() -> list[str]:
    """How often the process was started, and its id."""
    return [*STARTED, str(os.getpid())]


def pid(number: int) -> int:
    time.sleep(0.01 * number)
    return os.getpid()


def divided(dividend: int, divisor: int) -> float:
    return dividend / divisor


def anything(number: object) -> object:
    return number


def defaulted(number: int, more: int = 2) -> int:
    return number + more


def untrue(number: int) -> int:
    return "one" if number == 1 else number  # type: ignore[return-value]  # that is the point
