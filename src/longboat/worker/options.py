"""The options of a worker, checked."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from longboat.core.clock import seconds
from longboat.errors import ConfigError
from longboat.observe import metrics
from longboat.tasks.template import checked_name


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's settings; durations in seconds, memory in bytes."""

    queues: tuple[str, ...] = ()
    """Those named first are served first; none: every queue, in turn."""
    concurrency: int = 100
    """Coroutines at a time."""
    threads: int
    processes: int
    lease: float = 15.0
    grace: float = 25.0
    burst: bool = False
    max_jobs: int | None = None
    max_memory: int | None = None
    child_calls: int | None = None
    """Calls after which a child process is replaced."""
    health_port: int | None = None
    """Where probes and metrics are answered; 0: any free port."""
    health_host: str = "127.0.0.1"
    health_ports: int = 1
    """How many ports from that one on may be taken: one for each worker process."""


def options(**chosen: Any) -> WorkerOptions:
    """The checked options, from fields of WorkerOptions; None stands for the default, and durations may have units.

    By default `threads` and `processes` follow the processors. Raises ConfigError.
    """
    cores = processors()
    given = {field: value for field, value in chosen.items() if value is not None}
    given["queues"] = tuple(checked_name(queue, "queue") for queue in given.get("queues", ()))
    given |= {field: seconds(given[field], field) for field in ("lease", "grace") if field in given}
    made = WorkerOptions(**{"threads": min(32, cores + 4), "processes": cores, **given})
    for field in ("concurrency", "threads", "processes", "max_jobs", "max_memory", "child_calls"):
        value = getattr(made, field)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"{field}: {value!r} must be a whole number of at least 1")
    if made.health_port is not None:
        metrics.labels()
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
