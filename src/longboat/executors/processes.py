"""ProcessExecutor: plain functions in child processes, which may be killed one by one and are replaced at once."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from functools import partial

from longboat.executors.base import BaseExecutor, watched
from longboat.executors.contract import Call, Owner
from longboat.executors.job_channel import JobChannels
from longboat.executors.process_pool import ProcessPool
from longboat.executors.spawner import Spawner
from longboat.tasks.current import JobChannel


class ProcessExecutor(BaseExecutor):
    """Runs functions in `slots` child processes, one call at a time in each; all are started at the first submit.

    A child is replaced after `max_jobs` calls, or when it takes more than `max_memory` bytes after one. One thread owns
    the children; replies come from it, or from whoever calls submit. Not to be closed from within `done`.
    """

    def __init__(
        self,
        slots: int,
        owner: Owner,
        *,
        max_jobs: int | None = None,
        max_memory: int | None = None,
        job_channel: JobChannel | None = None,
    ) -> None:
        super().__init__(slots, owner)
        self._job_channels = None if job_channel is None else JobChannels(job_channel, owner)
        self._pool = ProcessPool(self, Spawner(max_jobs, max_memory, self._job_channels))
        self._thread = watched("processes", self._pool.run, owner.failed)

    def close(self, grace: float) -> None:
        self.shut(grace)
        if self._thread.ident is not None:
            self._pool.post(self._pool.hand_back)
            if not self.wait():
                self._pool.post(self._pool.kill_all)
            self._thread.join()
            atexit.unregister(self.close)
        with self.lock:
            job_channels, self._job_channels = self._job_channels, None
            self._pool.hush()
        if job_channels is not None:
            job_channels.close()

    def _begin(self, calls: Sequence[Call]) -> None:
        self._pool.post(partial(self._pool.take, tuple(calls)))
        if self._thread.ident is None:
            atexit.register(self.close, 0.0)  # runs before multiprocessing's own, which waits for children
            self._thread.start()

    def _ask_to_stop(self, call: Call) -> None:
        self._pool.post(partial(self._pool.stop, call))

    def _cut_off(self, call: Call) -> None:
        self._pool.post(partial(self._pool.kill, call))
