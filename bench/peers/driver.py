"""What the drivers share: `python -m bench.BROKER.peers.NAME about`, `put NUMBER`, `load`, or `work`.

`work` becomes the worker. Drivers run by the interpreters of bench/peers/environments.py, where Longboat is not installed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers.marks import URL, mark

TOGETHER = 50
"""Coroutines that enqueue at the same time, where a queue offers no bulk call."""

url = os.environ[URL]
"""Of the server; of none where only `about` is asked."""


class Driver(NamedTuple):
    package: str
    settings: str
    """What a reader needs to know of how it was run."""
    at_least_once: bool
    """A job is run again after its worker was killed."""
    worker: list[str]
    """A program of the environment and its arguments."""
    put: Callable[[int], object] = lambda _: None
    load: Callable[[], object] = lambda: None
    """Answer what bench/latency/load.py is asked."""


def noop() -> None:
    mark()


async def anoop() -> None:
    mark()


async def anoop_in(_context: Any) -> None:
    """For the queues that hand a context to each job."""
    mark()


async def enqueued(enqueue: Callable[[], Awaitable[object]], number: int) -> None:
    for start in range(0, number, TOGETHER):
        await asyncio.gather(*[enqueue() for _ in range(min(TOGETHER, number - start))])


def drive(driver: Driver) -> None:
    match sys.argv[1:]:
        case ["about"]:
            version = f"{driver.package} {metadata.version(driver.package)}"
            print(json.dumps({"settings": f"{version}; {driver.settings}", "at_least_once": driver.at_least_once}))
        case ["put", number]:
            driver.put(int(number))
        case ["load"]:
            driver.load()
        case ["work"]:
            program = Path(sys.executable).parent / driver.worker[0]
            os.execv(program, [str(program), *driver.worker[1:]])
        case _:
            sys.exit("about, put NUMBER, load, or work")
