"""The round trip that one writes by hand: put, wake a second process, claim, settle with a result, wake the caller."""

from __future__ import annotations

import multiprocessing
import time

from redis import Redis

from bench.redis.limit import ID, KNOWN, READY, SINGLE, entries
from longboat.core import codec

HELD = "limit:held"
REPLY = "limit:reply:"
STOP = b"stop"
KEEP = 3600

SETTLE = """
-- KEYS: held, reply; ARGV: entry, result, seconds that the result is kept.
redis.call('LREM', KEYS[1], 1, ARGV[1])
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
"""


def measure_roundtrips(url: str, number: int) -> list[float]:
    """Seconds of each."""
    other = multiprocessing.get_context("spawn").Process(target=answer, args=(url,))
    other.start()
    times = []
    with Redis.from_url(url, socket_timeout=None) as client:
        put = client.register_script(SINGLE)
        for entry in entries(number):
            begun = time.perf_counter()
            job_id = entry[:ID]
            put(keys=[KNOWN, READY], args=[job_id, entry])
            reply = client.blpop([REPLY + job_id.decode()], timeout=30)
            times.append(time.perf_counter() - begun)
            assert reply is not None
            assert reply[1] == codec.NONE
        client.rpush(READY, STOP)
    other.join()
    return times[number // 10 :]  # the first ones wait for the other's start


def answer(url: str) -> None:
    """The other process."""
    with Redis.from_url(url, socket_timeout=None) as client:
        settle = client.register_script(SETTLE)
        while (entry := client.blmove(READY, HELD, 30)) != STOP:
            codec.decode_job(entry[ID:])
            settle(keys=[HELD, REPLY + entry[:ID].decode()], args=[entry, codec.NONE, KEEP])
