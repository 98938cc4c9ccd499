"""The limit: the loop that one writes by hand on the same server, as fast as it gets in one process.

One script settles a batch and claims the next, every job is decoded and gets an asyncio task of its own. There is no
lease that runs out, no retry, no result, no second worker: it is what remains when all that a queue is for is left out.
`python -m bench.redis.limit URL NUMBER` prints jobs drained a second and jobs put a second. `… URL NUMBER single` prints
jobs put a second one at a time, and the median and the 99th percentile of that call's milliseconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from redis import Redis
from redis.commands.core import Script

from longboat.core import codec
from longboat.core.job import MESSAGE_VERSION, Job, new_id

BATCH = 500
PUT = 1000
READY, LEASED, KNOWN = "limit:ready", "limit:leased", "limit:known"
ID = 33
"""Characters of an id: each entry is an id and then the message."""

STEP = f"""
-- KEYS: ready, leased; ARGV: how many to claim, then the ids to settle. Returns the entries claimed.
if #ARGV > 1 then redis.call('HDEL', KEYS[2], unpack(ARGV, 2)) end
local entries = redis.call('LPOP', KEYS[1], ARGV[1])
if not entries then return {{}} end
local leased = {{}}
for place, entry in ipairs(entries) do
    leased[2 * place - 1] = string.sub(entry, 1, {ID})
    leased[2 * place] = entry
end
redis.call('HSET', KEYS[2], unpack(leased))
return entries
"""

SINGLE = """
-- KEYS: known, ready; ARGV: id, entry.
if redis.call('HSETNX', KEYS[1], ARGV[1], '') == 1 then redis.call('RPUSH', KEYS[2], ARGV[2]) end
"""


def entries(number: int) -> Iterator[bytes]:
    """Encoded Longboat jobs."""
    for _ in range(number):
        job = Job(MESSAGE_VERSION, new_id(), "bench.jobs.noop", codec.encode({}), enqueued=time.time())
        yield job.id.encode() + codec.encode_job(job)


def put(client: Redis, number: int) -> None:
    """A thousand in a call."""
    for start in range(0, number, PUT):
        client.rpush(READY, *entries(min(PUT, number - start)))


async def noop() -> None:
    """The job."""


async def drain(step: Script) -> int:
    loop, count = asyncio.get_running_loop(), 0
    ids: list[bytes] = []
    while claimed := step(keys=[READY, LEASED], args=[BATCH, *ids]):
        ids, tasks = [], []
        for entry in claimed:
            codec.decode_job(entry[ID:])
            ids.append(entry[:ID])
            tasks.append(asyncio.Task(noop(), loop=loop))
        for task in tasks:
            await task
        count += len(tasks)
    return count


def run(main: Coroutine[Any, Any, int]) -> int:
    """On the loop that a worker takes: uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def measure_drain(url: str, number: int) -> tuple[float, float]:
    """(jobs drained a second, jobs put a second)"""
    with Redis.from_url(url) as client:
        client.ping()
        begun = time.perf_counter()
        put(client, number)
        filled = time.perf_counter()
        count = run(drain(client.register_script(STEP)))
        ended = time.perf_counter()
    assert count == number
    return number / (ended - filled), number / (filled - begun)


def measure_single(url: str, number: int) -> tuple[float, float, float]:
    """(jobs put a second one at a time, the median and the 99th percentile of the milliseconds of a call)"""
    with Redis.from_url(url) as client:
        single = client.register_script(SINGLE)
        ready = [(entry[:ID], entry) for entry in entries(number)]
        single(keys=[KNOWN, READY], args=["", ""])
        times = []
        for job_id, entry in ready:
            begun = time.perf_counter()
            single(keys=[KNOWN, READY], args=[job_id, entry])
            times.append(time.perf_counter() - begun)
    ordered = sorted(times)
    return number / sum(times), ordered[number // 2] * 1e3, ordered[int(number * 0.99)] * 1e3


if __name__ == "__main__":
    measure = measure_single if sys.argv[3:] == ["single"] else measure_drain
    print(*measure(sys.argv[1], int(sys.argv[2])))
