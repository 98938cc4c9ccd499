"""An open load: jobs are due at a steady rate, whatever has become of those before them, as calls from outside are.

A caller that waits until it can call again, and times only its calls, hides what it waited. Here every time is counted from
the moment at which a job was due. All jobs tell when they started; of ASKED a second, the caller awaits the result.

The other queues' interpreters read this file too: it imports nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.latency.due import notes, started
from bench.peers.marks import VARIABLE

PERCENTS = (50, 99, 99.9)
ASKED = 500
WARM = 0.5
"""Seconds at the beginning that do not count."""
TICK = 0.001
WINDOW = 2000
"""Jobs that are put and have not started, at most, while it is measured how much goes through."""
PIECE = 100
WAITED = 100
"""Results that are waited for then, at most: who waits by looking again and again can be kept from all else by it."""
PATIENCE = 20.0
"""Seconds after the last job was due in which all must have ended."""


class Side(NamedTuple):
    """One queue's client."""

    put: Callable[[Sequence[float]], Awaitable[object]]
    """Enqueue a job for each of these moments."""
    ask: Callable[[float], Awaitable[object]]
    """Enqueue one, and return when its result is known here."""


class Load:
    """On the file of notes of one worker, which goes on from call to call."""

    def __init__(self, side: Side, path: Path) -> None:
        self._side = side
        self._path = path
        self._tasks: set[asyncio.Future[Any]] = set()
        self._errors: list[BaseException] = []

    async def most(self, seconds: float) -> float:
        """Jobs a second that start while the caller, beside the worker, enqueues as fast as they do, and asks as ever."""
        await self._ready()
        first = put = started(self._path)
        asked = 0
        begun = time.monotonic()
        after_warm: tuple[float, int] | None = None
        while (now := time.monotonic()) < begun + WARM + seconds:
            done = started(self._path)
            if after_warm is None and now >= begun + WARM:
                after_warm = now, done
            if len(self._tasks) < WAITED and asked < (now - begun) * ASKED:
                self._go(self._side.ask(now))
                put, asked = put + 1, asked + 1
            if put - done < WINDOW:
                await self._side.put([now] * PIECE)
                put += PIECE
            else:
                await asyncio.sleep(TICK)
        assert after_warm is not None
        rate = (started(self._path) - after_warm[1]) / (time.monotonic() - after_warm[0])
        await self._until(put, first)
        return rate

    async def at(self, rate: float, seconds: float) -> tuple[list[float], list[float]]:
        """Seconds from due to start, and from due to result."""
        await self._ready()
        before, results = started(self._path), []
        total, every = int(rate * (WARM + seconds)), max(1, round(rate / ASKED))
        begun, number = time.monotonic(), 0

        async def asked(due: float) -> None:
            await self._side.ask(due)
            if due >= begun + WARM:
                results.append(time.monotonic() - due)

        while number < total:
            until = min(total, int((time.monotonic() - begun) * rate) + 1)
            dues = [(place, begun + place / rate) for place in range(number, until)]
            number = until
            for _, due in (each for each in dues if each[0] % every == 0):
                self._go(asked(due))
            if plain := [due for place, due in dues if place % every]:
                self._go(self._side.put(plain))
            await asyncio.sleep(max(TICK, begun + number / rate - time.monotonic()))
        await self._until(before + total, before)
        return [start - due for due, start in notes(self._path)[before:] if due >= begun + WARM], results

    async def _ready(self) -> None:
        """The worker is there, and all is connected."""
        await asyncio.wait_for(self._side.ask(time.monotonic()), PATIENCE)

    def _go(self, what: Awaitable[object]) -> None:
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if error := task.exception():
            self._errors.append(error)

    async def _until(self, number: int, before: int) -> None:
        """All have started, and what was asked is answered."""
        due = time.monotonic() + PATIENCE
        while self._tasks or started(self._path) < number:
            if self._errors:
                raise self._errors[0]
            if time.monotonic() > due:
                raise TimeoutError(f"{started(self._path) - before:,} of {number - before:,} jobs within {PATIENCE:g} s")
            await asyncio.sleep(0.01)


def percentiles(times: Sequence[float]) -> list[float]:
    """In milliseconds, of each of PERCENTS."""
    ordered = sorted(times)
    return [ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1e3 for percent in PERCENTS]


async def answered(side: Side) -> None:
    """Do what is asked, line by line: `most SECONDS`, `at RATE SECONDS`; each answer is a line of JSON."""
    load, loop = Load(side, Path(os.environ[VARIABLE])), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, *numbers = line.split()
        if what == "most":
            answer: object = await load.most(float(numbers[0]))
        else:
            answer = [percentiles(times) for times in await load.at(float(numbers[0]), float(numbers[1]))]
        print(json.dumps(answer), flush=True)


def run(main: Coroutine[Any, Any, None]) -> None:
    """On the loop that the workers take: uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
