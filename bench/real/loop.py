"""The loop that one writes by hand on the same server for the same jobs, in one process: as bench/redis/limit.py, but so
many jobs run at a time, and one that raises is pushed again.

`python -m bench.real.loop URL KIND NUMBER [SIZE]` prints jobs drained a second and jobs put a second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.commands.core import Script

from bench.real.jobs import NAP, ONE_IN
from bench.redis.limit import ID, LEASED, READY, STEP, run
from longboat.core import codec
from longboat.core.job import MESSAGE_VERSION, Job, new_id

PUT, BYTES = 1000, 4_000_000
"""Jobs, and about how many bytes, that one call puts."""
BATCH = 500
SLOTS = {"naps": 1000, "arguments": 100, "failing": 100}
"""Jobs at a time, as the worker beside it has."""

MESSAGES = "loop:messages"
"""Big ones stand in a hash, and their keys in the list: a script would hash each of their bytes."""

AGAIN = "redis.call('RPUSH', KEYS[1], unpack(ARGV))"
"""KEYS: ready; ARGV: the entries that failed."""


async def nap(_arguments: Any, _again: bool) -> None:
    await asyncio.sleep(NAP)


async def sized(_arguments: Any, _again: bool) -> None:
    """It takes its argument."""


async def failing(arguments: Any, again: bool) -> None:
    if arguments["number"] % ONE_IN == 0 and not again:
        raise ConnectionError("the first attempt of one in ten")


JOBS = {"naps": nap, "arguments": sized, "failing": failing}


def entries(kind: str, number: int, size: int) -> Iterator[bytes]:
    data = b"\xff" * size
    for place in range(number):
        arguments: dict[str, dict[str, Any]] = {"naps": {}, "arguments": {"data": data}, "failing": {"number": place}}
        job = Job(MESSAGE_VERSION, new_id(), "bench.real", codec.encode(arguments[kind]), enqueued=time.time())
        yield job.id.encode() + codec.encode_job(job)


def put(client: Redis, every: Iterator[bytes], size: int) -> None:
    part: list[bytes] = []
    for entry in every:
        part.append(entry)
        if len(part) == PUT or len(part) * size > BYTES:
            _push(client, part, size)
            part = []
    if part:
        _push(client, part, size)


def _push(client: Redis, part: list[bytes], size: int) -> None:
    if not size:
        client.rpush(READY, *part)
        return
    with client.pipeline() as pipe:
        pipe.hset(MESSAGES, mapping={entry[:ID]: entry for entry in part})
        pipe.rpush(READY, *[entry[:ID] for entry in part])
        pipe.execute()


class Loop:
    def __init__(self, client: Redis, kind: str) -> None:
        self._client = client
        self._big = kind == "arguments"
        self._step: Script = client.register_script(STEP)
        self._push: Script = client.register_script(AGAIN)
        self._do = JOBS[kind]
        self._slots = SLOTS[kind]
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._ended: list[bytes] = []
        self._failed: list[bytes] = []
        self._tried: set[bytes] = set()
        self._free = asyncio.Event()
        self.count = 0

    async def _one(self, entry: bytes) -> None:
        job = codec.decode_job(entry[ID:])
        key = entry[:ID]
        try:
            await self._do(codec.decode(job.payload), key in self._tried)
        except ConnectionError:
            self._tried.add(key)
            self._failed.append(entry)
        else:
            self.count += 1
        del self._running[key]
        self._ended.append(key)
        self._free.set()

    def _claimed(self, room: int, ended: list[bytes]) -> list[bytes]:
        """Settle what has ended, and take up to `room` more."""
        if not self._big:
            found: list[bytes] = self._step(keys=[READY, LEASED], args=[room, *ended])
            return found
        with self._client.pipeline() as pipe:
            if ended:
                pipe.hdel(LEASED, *ended)
                pipe.hdel(MESSAGES, *ended)
            pipe.lpop(READY, room)
            keys: list[bytes] = pipe.execute()[-1] or []
        if not keys:
            return []
        with self._client.pipeline() as pipe:
            pipe.hset(LEASED, mapping=dict.fromkeys(keys, b""))
            pipe.hmget(MESSAGES, keys)
            taken: list[bytes] = pipe.execute()[-1]
        return taken

    async def drain(self) -> int:
        while True:
            failed, self._failed = self._failed, []
            if failed:
                self._push(keys=[READY], args=failed)
            room = min(BATCH, self._slots - len(self._running))
            claimed = []
            if room:
                ended, self._ended = self._ended, []
                claimed = self._claimed(room, ended)
            for entry in claimed:
                self._running[entry[:ID]] = asyncio.ensure_future(self._one(entry))
            if not claimed and not self._running and not self._failed:
                return self.count
            self._free.clear()
            if self._running:
                await self._free.wait()
            await asyncio.sleep(0)  # all that are due end before the next step


def measure(url: str, kind: str, number: int, size: int = 0) -> tuple[float, float]:
    """(jobs drained a second, jobs put a second)"""
    with Redis.from_url(url) as client:
        every = entries(kind, number, size)
        begun = time.perf_counter()
        put(client, every, size)
        filled = time.perf_counter()
        count = run(_drained(client, kind))
        ended = time.perf_counter()
    assert count == number
    return number / (ended - filled), number / (filled - begun)


async def _drained(client: Redis, kind: str) -> int:
    return await Loop(client, kind).drain()


if __name__ == "__main__":
    address, what, *numbers = sys.argv[1:]
    print(*measure(address, what, *map(int, numbers)))
