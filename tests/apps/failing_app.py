"""The app of fault_app.py, in a worker whose parts fail on demand: while there is a file "strike" and its name, a part
raises when it is at work next, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from longboat import current
from longboat.brokers.sqlite.consumer import SqliteConsumer
from longboat.executors.asyncio import AsyncioExecutor
from longboat.executors.job_channel import JobChannels
from longboat.executors.processes import ProcessExecutor
from longboat.executors.threads import ThreadExecutor
from longboat.worker import health
from longboat.worker.finisher import Finisher
from longboat.worker.quarantine import Quarantine
from longboat.worker.record_writer import WorkerRecordWriter
from tests.apps.fault_app import app, noted

FOLDER = Path(os.environ["FAULT_LOG"]).parent

PLACES: dict[str, tuple[type, str]] = {
    "fetcher": (SqliteConsumer, "receive"),
    "settler": (SqliteConsumer, "settle"),
    "leases": (SqliteConsumer, "extend"),
    "maintenance": (WorkerRecordWriter, "run"),
    "quarantine": (Quarantine, "_next"),
    "health": (health._Server, "handle_request"),
    "event loop": (AsyncioExecutor, "_start"),
    "thread-1": (ThreadExecutor, "_run"),
    "processes": (ProcessExecutor, "_dispatch"),
    "job-channels": (JobChannels, "_hear"),
    "replies": (Finisher, "done"),
}
"""By the part of the worker: what fails."""


@app.task(executor="process")
def talk() -> None:
    with noted():
        current().log("hello")


def failing(part: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        strike = FOLDER / f"strike {part}"
        if strike.exists() and (part != "settler" or args[1]):
            with suppress(FileNotFoundError):
                strike.rename(FOLDER / "struck")  # one thread only
                raise SystemExit(f"struck: {part}")  # nothing that catches Exception stops it
        return method(*args, **kwargs)

    return call


for part, (kind, name) in PLACES.items():
    setattr(kind, name, failing(part, getattr(kind, name)))
