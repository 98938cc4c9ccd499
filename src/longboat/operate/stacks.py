"""The stacks of a worker's running jobs, as it wrote them down when somebody asked."""

from __future__ import annotations

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.codec import decoded

NAMESPACE = "stacks"
KEPT = 300.0
LARGEST = 200_000
"""Characters of the stacks of one worker, at most."""


class JobStack(msgspec.Struct):
    """Where one job was."""

    id: str
    task: str
    stack: str
    """As in a traceback; empty where it cannot be told, as in a child process."""


class Stacks(msgspec.Struct):
    """Those of one worker."""

    at: float
    """When, in seconds since the epoch."""
    jobs: list[JobStack]


def keep(kv: KV, worker: str, stacks: Stacks) -> None:
    """`worker`: its record's id."""
    room, jobs = LARGEST, []
    for job in stacks.jobs:
        room -= len(job.stack)
        if room < 0:
            break
        jobs.append(job)
    kv.write(NAMESPACE, [Entry(worker, msgspec.msgpack.encode(Stacks(stacks.at, jobs)), KEPT)])


def latest(kv: KV, worker: str) -> Stacks | None:
    """What the worker of this id wrote last, within some minutes."""
    return decoded(kv.read(NAMESPACE, [worker])[0], Stacks)
