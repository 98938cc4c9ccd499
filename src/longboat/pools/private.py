"""Private: the queue of an executor without an app: in memory, and a worker with child processes in this program.

The calls of a batch are to outlive the program, so their queue is a file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from longboat.app import Longboat
from longboat.core.clock import Duration
from longboat.errors import LongboatError, WorkerFailed
from longboat.tasks.task import SyncTask
from longboat.worker.options import options
from longboat.worker.worker import Worker

PAUSES = [0.05]
RETRIES = 4
"""Attempts after the first when the process dies in which the call runs. What the function raises is an answer."""
LEASE: Duration = "5s"
"""How long a batch waits for the calls that ran when its program died."""
FOREVER: Duration = "365d"
"""The lease of what dies with the program: one that was stopped for a while, by Ctrl-Z say, runs no call again."""
STALE = 2 * 86_400.0
"""Seconds without a change after which the file of a batch is removed."""


class Limits(NamedTuple):
    """Of the child processes."""

    workers: int | None
    """How many; None: as many as there are processors."""
    calls: int | None = None
    """Jobs after which each is replaced."""


class Private:
    """Opened at once, so that what is wrong is raised here; closed once, from any thread."""

    def __init__(self, limits: Limits, batch: str, broken: Callable[[WorkerFailed], None]) -> None:
        """`batch`: the name of a file that stays, or empty. `broken` is called from another thread when the worker has
        failed. Raises ConfigError."""
        lease = LEASE if batch else FOREVER
        self._options = options(processes=limits.workers, child_calls=limits.calls, lease=lease)
        self._pid = os.getpid()
        self._folder = _folder_of(batch) if batch else None
        self._stays = bool(batch)
        self.app = Longboat()
        self.app.url = "memory://" if self._folder is None else _file_in(self._folder)
        self._broken = broken
        self._worker: Worker | None = None
        self._closing = False
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """For large data: this user's only, and removed at the end, unless it is a batch's."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="longboat-"))
        return self._folder

    def task(self, run: Callable[[bytes], bytes], keep: float) -> SyncTask[[bytes], bytes]:
        """The one task. `run` is what child processes run. `keep`: seconds that results can be read by another program."""
        make = self.app.task(
            name="longboat.pools.run",
            executor="process",
            retries=RETRIES,
            backoff=PAUSES,
            retry_on=(),
            keep_result=keep,
        )
        return make(run)

    def start(self) -> None:
        """Start the worker, unless it runs. Raises what starting it raises."""
        with self._lock:
            if self._worker is None and not self._closing:
                worker = Worker(self.app.broker, self.app.registry, self._options, self.app.bus)
                worker.__enter__()
                self._worker = worker
                threading.Thread(target=self._watch, args=[worker], name="longboat-pool", daemon=True).start()

    def _watch(self, worker: Worker) -> None:
        worker.finished.wait()
        if not self._closing:
            error = WorkerFailed(f"the worker of this executor stopped, because {worker.reason}")
            error.__cause__ = worker.status.error
            self._broken(error)

    def close(self, grace: float | None = None) -> None:
        """End the worker, and remove the folder, unless it is a batch's. `grace`: seconds for what still runs."""
        with self._lock:
            worker, self._worker = self._worker, None
            first, self._closing = not self._closing, True
        if not first or self._pid != os.getpid():
            return
        try:
            if worker is not None:
                worker.close(grace)
                with suppress(WorkerFailed):  # the futures have said so
                    worker.__exit__(None, None, None)
            with suppress(LongboatError):
                self.app.close()
        finally:
            if self._folder is not None and not self._stays:
                shutil.rmtree(self._folder, ignore_errors=True)


def _file_in(folder: Path) -> str:
    """The URL of the file, which only this user can read."""
    file = folder / "jobs.db"
    os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
    return f"sqlite:///{quote(str(file))}?synchronous=normal"  # nothing of it is to survive the machine


def _folder_of(batch: str) -> Path:
    """Where this user's batch of this name is. Those that nobody has used for long are removed."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folders = state / "longboat" / "batches"
    folders.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in folders.iterdir():
        with suppress(OSError):  # another program removes it too
            if max(file.stat().st_mtime for file in (folder, *folder.iterdir())) < time.time() - STALE:
                shutil.rmtree(folder, ignore_errors=True)
    folder = folders / sha256(batch.encode()).hexdigest()[:32]
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
