"""ProcessExecutor: plain functions in child processes, which may be killed one by one and are replaced at once."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from functools import partial

from longboat.executors.contract import Call, Callback, CallEnd
from longboat.executors.job_channel import JobChannels
from longboat.executors.ledger import Ledger
from longboat.executors.process_pool import ProcessPool
from longboat.executors.spawner import Spawner
from longboat.tasks.current import JobChannel


class ProcessExecutor:
    """Runs functions in `slots` child processes, one call at a time in each; all are started at the first submit.

    A child is replaced after `max_jobs` calls, or when it takes more than `max_memory` bytes after one. One thread owns
    the children; replies come from it, or from who calls submit. Not to be closed from within `done`.
    """

    def __init__(
        self,
        slots: int,
        done: Callback,
        *,
        max_jobs: int | None = None,
        max_memory: int | None = None,
        job_channel: JobChannel | None = None,
    ) -> None:
        self.slots = slots
        self.worn = False
        self._ledger = Ledger(slots, done)
        self._job_channels = None if job_channel is None else JobChannels(job_channel)
        self._pool = ProcessPool(slots, self._ledger, Spawner(max_jobs, max_memory, self._job_channels))
        self._begun = False

    def free(self) -> int:
        return self._ledger.free()

    def submit(self, calls: Sequence[Call]) -> None:
        with self._ledger.lock:
            taken = self._ledger.admit(calls)
            if taken:
                self._pool.post(partial(self._pool.take, tuple(calls)))
                if not self._begun:
                    self._begun = True
                    atexit.register(self.close, 0.0)  # runs before multiprocessing's own, which waits for children
                    self._pool.start()
        if not taken:
            self._ledger.turn_away(calls)

    def stop(self, call: Call, why: CallEnd) -> None:
        if call.stopping is None:
            call.stopping = why
        self._pool.post(partial(self._pool.stop, call))

    def kill(self, call: Call) -> None:
        self._pool.post(partial(self._pool.kill, call))

    def close(self, grace: float) -> None:
        self._ledger.shut(grace)
        if self._begun:
            self._pool.post(self._pool.hand_back)
            if not self._ledger.wait():
                self._pool.post(self._pool.kill_all)
            self._pool.join()
            atexit.unregister(self.close)
        if self._job_channels is not None:
            self._job_channels.close()
            self._job_channels = None
        with self._ledger.lock:
            self._pool.hush()
