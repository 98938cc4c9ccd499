"""What can be chosen for a worker, checked."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from longboat.core.clock import Duration, seconds
from longboat.errors import ConfigError
from longboat.tasks.template import checked_name


class WorkerOptions(msgspec.Struct, frozen=True):
    """A worker's settings; durations in seconds, memory in bytes."""

    queues: tuple[str, ...] = ()
    """Those named first are served first; none: every queue, in turn."""
    concurrency: int = 100
    """Coroutines at a time."""
    threads: int = 0
    processes: int = 0
    lease: float = 15.0
    grace: float = 25.0
    burst: bool = False
    max_jobs: int | None = None
    max_memory: int | None = None
    name: str = ""
    health_port: int | None = None
    """Where health and metrics are told; 0: any free port."""
    health_host: str = "127.0.0.1"
    health_ports: int = 1
    """How many ports from that one on may be taken: one for each worker process."""


def options(
    *,
    queues: Sequence[str] = (),
    concurrency: int = 100,
    threads: int | None = None,
    processes: int | None = None,
    lease: Duration = 15.0,
    grace: Duration = 25.0,
    burst: bool = False,
    max_jobs: int | None = None,
    max_memory: int | None = None,
    name: str = "",
    health_port: int | None = None,
    health_host: str = "127.0.0.1",
    health_ports: int = 1,
) -> WorkerOptions:
    """The checked options; `threads` and `processes` follow the processors when they are not given. Raises ConfigError."""
    cores = processors()
    made = WorkerOptions(
        tuple(checked_name(queue, "queue") for queue in queues),
        concurrency,
        min(32, cores + 4) if threads is None else threads,
        cores if processes is None else processes,
        seconds(lease, "lease"),
        seconds(grace, "grace"),
        burst=burst,
        max_jobs=max_jobs,
        max_memory=max_memory,
        name=name,
        health_port=health_port,
        health_host=health_host,
        health_ports=health_ports,
    )
    for field, least in (("concurrency", 1), ("threads", 1), ("processes", 1), ("max_jobs", 1), ("max_memory", 1)):
        value = getattr(made, field)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ConfigError(f"{field}: {value!r} must be a whole number of at least {least}")
    if made.lease < 1:
        raise ConfigError(f"lease: {made.lease:g} s is too short for heartbeats; the least is 1 s")
    return made


def processors() -> int:
    """Processors that this process may use: its affinity, and its control group's share where there is one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return count
    return count
