"""dramatiq, its results kept: https://dramatiq.io."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import default_middleware
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.latency.due import note
from bench.latency.load import Side, answered, run
from bench.peers.driver import Driver, drive, url

WAITING = 64
"""Threads that wait for results: there is no other way to wait."""

middleware = [kind() for kind in default_middleware if kind.__name__ != "Prometheus"]
dramatiq.set_broker(RedisBroker(url=url, middleware=[*middleware, Results(backend=RedisBackend(url=url))]))


def timed(due: float) -> None:
    note(due)


actor = dramatiq.actor(timed, actor_name="timed")
kept = dramatiq.actor(timed, actor_name="kept", store_results=True)

putting, waiting = ThreadPoolExecutor(1), ThreadPoolExecutor(WAITING)


def send(dues: Sequence[float]) -> None:
    for due in dues:
        actor.send(due)


async def put(dues: Sequence[float]) -> None:
    await asyncio.get_running_loop().run_in_executor(putting, send, dues)


async def ask(due: float) -> None:
    def wait() -> None:
        kept.send(due).get_result(block=True, timeout=30_000)

    await asyncio.get_running_loop().run_in_executor(waiting, wait)


driver = Driver(
    "dramatiq",
    "one process, 10 threads, the default middleware but for Prometheus, and Results",
    at_least_once=True,
    worker=["dramatiq", "-p", "1", "-t", "10", "--skip-logging", "bench.latency.peers.dramatiq"],
    load=lambda: run(answered(Side(put, ask))),
)

if __name__ == "__main__":
    drive(driver)
