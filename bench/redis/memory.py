"""Memory: what a queued job takes in Redis, beside the bytes of its message."""

from __future__ import annotations

from collections.abc import Iterator

from redis import Redis

from bench.figure import Figure, Plan, Tell
from bench.place import at
from bench.redis.jobs import told
from bench.redis.server import emptied, server
from longboat.core import codec
from longboat.core.job import MESSAGE_VERSION, Job, new_id

NUMBER = 100_000
LENGTHS = (0, 100)
"""Characters of the argument: about the smallest message there is, and one of some 200 bytes."""


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    with server() as url:
        for text in ("x" * length for length in LENGTHS):
            size = len(message(text))
            tell(f"memory of a message of {size} bytes")
            samples = [taken(emptied(url), text) for _ in range(plan.repeat)]
            yield Figure(
                f"memory, message of {size} bytes",
                "of it",
                [each / size for each in samples],
                1.5,
                least=False,
                entry=f"{samples[0]:.0f} bytes a job, {NUMBER:,} ready",
            )


def message(text: str) -> bytes:
    job = Job(MESSAGE_VERSION, new_id(), told.name, codec.encode({"text": text}), enqueued=1.5)
    return codec.encode_job(job)


def taken(url: str, text: str) -> float:
    """Bytes of data a job: the server's own buffers are not counted."""
    with at(url), Redis.from_url(url) as client:
        told.enqueue(text)
        before = client.info("memory")["used_memory_dataset"]
        told.enqueue_many((text,) for _ in range(NUMBER))
        after = client.info("memory")["used_memory_dataset"]
    return float(after - before) / NUMBER
