"""`python -m bench.hops sqlite|redis|postgres|URL [number]`: the time line of a round trip, hop by hop, in microseconds.

Caller and worker are two processes, which read the same clock. Each line is the median of when a moment came after the call
of `enqueue`, and of the time since the line before. A mark costs 0.3 µs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from bench.place import folder, started, url
from longboat import Longboat

OUT = "LONGBOAT_BENCH_HOPS"
"""The worker writes its moments to this file."""
NUMBER = 1000
WORKER = ["longboat", "worker", "bench.hops:app", "-q", "default", "-c", "100", "--processes", "2", "--log-level", "warning"]

app = Longboat()
moments: dict[str, float] = {}


def mark(name: str) -> None:
    moments[name] = time.perf_counter()


def marked(thing: Any, name: str, begins: str, ends: str, if_any: bool = False) -> None:
    """Mark when this method is called, and when it returns. `if_any`: only if it returns something."""
    method: Callable[..., Any] = getattr(thing, name)

    @functools.wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        answer = method(*args, **options)
        if answer or not if_any:
            if begins:
                moments[begins] = begun
            if ends:
                mark(ends)
        return answer

    setattr(thing, name, call)


@app.task
async def hop() -> None:
    mark("worker, loop: the function runs")


def watch_worker(path: str) -> None:
    """Patched here, since nothing of this belongs into a worker."""
    from longboat.executors.asyncio import AsyncioExecutor
    from longboat.worker.finisher import Finisher
    from longboat.worker.runner import Runner

    broker: Any = app.broker
    opened, out = broker.consumer, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def consumer(*args: Any, **options: Any) -> Any:
        made = opened(*args, **options)
        marked(made, "_wait", "", "worker, fetcher: it wakes")
        marked(made, "_claim", "worker, fetcher: it claims", "worker, fetcher: it has the job", if_any=True)
        settled = made.settle

        def settle(*given: Any, **named: Any) -> Any:
            mark("worker, settler: it settles")
            answer = settled(*given, **named)
            mark("worker, settler: it has settled")
            os.write(out, json.dumps(moments).encode() + b"\n")
            moments.clear()
            return answer

        made.settle = settle
        return made

    broker.consumer = consumer
    marked(Runner, "take", "", "worker, fetcher: it has handed it on")
    marked(AsyncioExecutor, "_start", "worker, loop: it wakes", "")
    marked(Finisher, "done", "", "worker, loop: the outcome is handed on")


if os.environ.get(OUT):
    watch_worker(os.environ[OUT])


def watch_caller() -> None:
    marked(app.broker, "put", "caller: the put begins", "caller: it is stored")
    results: Any = app.broker.results
    listen = results.listen

    def listener() -> Any:
        made = listen()
        marked(made, "watch", "caller: it asks for the result", "caller: it has asked")
        marked(made, "_news", "", "caller, inbox: the result is there", if_any=True)
        return made

    results.listen = listener


def measure(address: str, number: int) -> list[dict[str, float]]:
    lines: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as temporary, at_app(address):
        path = Path(temporary) / "moments"
        with environment(OUT, str(path)), started(WORKER, address):
            watch_caller()
            hop.enqueue().result(30)
            for turn in range(number):
                moments.clear()
                begun = time.perf_counter()
                handle = hop.enqueue()
                mark("caller: enqueue returns")
                handle.result(30)
                mark("caller: result returns")
                lines.append({name: (at - begun) * 1e6 for name, at in moments.items()} | {"": begun})
                time.sleep(0.001 * (turn % 3))  # what is left of the last one ends meanwhile
        theirs = [json.loads(line) for line in path.read_text().splitlines()]
    return [ours | _of(ours.pop(""), theirs) for ours in lines[number // 10 :]]


def _of(begun: float, theirs: list[dict[str, float]]) -> dict[str, float]:
    """What the worker did after this moment, and first."""
    its = next((each for each in theirs if each.get("worker, loop: the function runs", 0.0) > begun), {})
    return {name: (at - begun) * 1e6 for name, at in its.items() if at > begun}


@contextlib.contextmanager
def at_app(address: str) -> Iterator[None]:
    app.url = address
    try:
        yield
    finally:
        app.close()


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def table(lines: list[dict[str, float]]) -> str:
    names = {name for line in lines for name in line}
    when = {name: median(line[name] for line in lines if name in line) for name in names}
    rows, before = [], 0.0
    for name in sorted(when, key=when.__getitem__):
        rows.append(f"| {name} | {when[name]:.0f} | {when[name] - before:+.0f} |")
        before = when[name]
    return "\n".join(["| moment | µs | since |", "|---|---|---|", *rows])


def place(name: str) -> AbstractContextManager[str]:
    if name == "sqlite":
        return _file()
    if name == "redis":
        from bench.redis.server import server

        return server()
    if name == "postgres":
        return _postgres()
    return nullcontext(name)


@contextlib.contextmanager
def _file() -> Iterator[str]:
    with folder() as path:
        yield url(path, "full")


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    from bench.postgres.drain import server

    with server() as made:
        yield made.url


if __name__ == "__main__":
    with place(sys.argv[1]) as where:
        print(table(measure(where, int(sys.argv[2]) if sys.argv[2:] else NUMBER)))
