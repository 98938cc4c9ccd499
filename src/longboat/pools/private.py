"""Private: the queue of an executor without an app: a file of its own, and a worker with child processes in this program."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from longboat.app import Longboat
from longboat.core.clock import Duration
from longboat.errors import LongboatError, WorkerFailed
from longboat.tasks.task import SyncTask
from longboat.worker.options import options
from longboat.worker.worker import Worker

KEEP: Duration = "10m"
"""How long results stay in the file: this program takes them at once."""
PAUSES = [0.05]
RETRIES = 4
"""Attempts after the first when the process dies in which the call runs. What the function raises is an answer."""


class Private:
    """Opened at once, so that what is wrong is raised here; closed once, from any thread."""

    def __init__(self, workers: int | None, run: Callable[[bytes], bytes], broken: Callable[[WorkerFailed], None]) -> None:
        """`run` is what child processes run; `broken` is called from another thread when the worker has failed. Raises
        ConfigError."""
        options(processes=workers)
        self._pid = os.getpid()
        self._folder = Path(tempfile.mkdtemp(prefix="longboat-"))  # for this user only
        file = self._folder / "jobs.db"
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self.app = Longboat()
        self.app.url = f"sqlite:///{quote(str(file))}?synchronous=normal"  # nothing of it is to survive the machine
        self.task: SyncTask[[bytes], bytes] = self.app.task(
            name="longboat.pools.run",
            executor="process",
            retries=RETRIES,
            backoff=PAUSES,
            retry_on=(),
            keep_result=KEEP,
        )(run)
        self._workers = workers
        self._broken = broken
        self._worker: Worker | None = None
        self._closing = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the worker, unless it runs. Raises what starting it raises."""
        with self._lock:
            if self._worker is None:
                worker = self.app.worker(processes=self._workers)
                worker.__enter__()
                self._worker = worker
                threading.Thread(target=self._watch, args=[worker], name="longboat-pool", daemon=True).start()

    def _watch(self, worker: Worker) -> None:
        worker.finished.wait()
        if not self._closing:
            error = WorkerFailed(f"the worker of this executor stopped, because {worker.reason}")
            error.__cause__ = worker.status.error
            self._broken(error)

    def close(self) -> None:
        """End the worker, which has nothing more to do, and remove the file."""
        with self._lock:
            worker, self._worker = self._worker, None
            first, self._closing = not self._closing, True
        if not first or self._pid != os.getpid():
            return
        try:
            if worker is not None:
                with suppress(WorkerFailed):  # the futures have said so
                    worker.__exit__(None, None, None)
            with suppress(LongboatError):
                self.app.close()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
