"""Publishing one at a time, confirmed: `enqueue` of one thread, of eight, and `aenqueue` of many coroutines, beside pika."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

from bench.figure import Figure, Plan, Tell, ratio
from bench.jobs import forgotten
from bench.place import at
from bench.rabbitmq.bare import apublisher, publisher
from bench.rabbitmq.server import emptied, server

GOAL = 0.8
TURNS = 2
"""Runs of each for one of the command line's repeats: they are short, and single ones differ much."""
KINDS = (("one thread", 1, 1500), ("8 threads", 8, 6000), ("100 coroutines", 100, 15_000))
"""Who publishes, how many of them at once, and how many messages of all together."""
PEERS = {1: "bare pika, BlockingConnection", 8: "bare pika, 8 BlockingConnections", 100: "bare pika, one AsyncioConnection"}


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    turns = 1 if plan.quick else plan.repeat * TURNS
    with server() as made:
        for who, callers, number in KINDS:
            number = number // 5 if plan.quick else number
            ours: list[float] = []
            peer: list[float] = []
            url = emptied(made)
            for turn in range(turns):
                tell(f"one at a time, {who} {turn + 1}/{turns}")
                pair = ((our, ours), (bare, peer))
                for measured, rates in pair if turn % 2 else reversed(pair):
                    rates.append(measured(url, callers, number))
            entry = "each caller waits for the confirm of its message"
            yield ratio(f"enqueue, {who}", ours, peer, PEERS[callers], "jobs/s", goal=GOAL, entry=entry)


def our(url: str, callers: int, number: int) -> float:
    """Messages a second."""
    with at(url):
        forgotten.enqueue()  # it connects, and declares the queue
        if callers == 100:
            return asyncio.run(_together(forgotten.aenqueue, callers, number))
        return _by_threads([forgotten.enqueue] * callers, number)


def bare(url: str, callers: int, number: int) -> float:
    """Messages a second."""
    if callers == 100:
        return asyncio.run(_bare_together(url, callers, number))
    with contextlib.ExitStack() as stack:
        return _by_threads([stack.enter_context(publisher(url)) for _ in range(callers)], number)


def _by_threads(calls: list[Callable[[], object]], number: int) -> float:
    ready = threading.Barrier(len(calls) + 1)

    def repeat(call: Callable[[], object]) -> None:
        ready.wait()
        for _ in range(number // len(calls)):
            call()

    threads = [threading.Thread(target=repeat, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return number / (time.perf_counter() - begun)


async def _bare_together(url: str, callers: int, number: int) -> float:
    async with apublisher(url) as publish:
        return await _together(publish, callers, number)


async def _together(call: Callable[[], Awaitable[object]], callers: int, number: int) -> float:
    async def repeat() -> None:
        for _ in range(number // callers):
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(callers)))
    return number / (time.perf_counter() - begun)
