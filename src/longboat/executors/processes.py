"""ProcessExecutor: plain functions in child processes, which may be killed one by one and are replaced at once."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from functools import partial

from longboat.executors.contract import Call, Callback, Ending
from longboat.executors.crew import Crew
from longboat.executors.ledger import Ledger
from longboat.executors.nursery import Nursery
from longboat.executors.voices import Switchboard
from longboat.tasks.current import Voice


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
        voice: Voice | None = None,
    ) -> None:
        self.slots = slots
        self.worn = False
        self._ledger = Ledger(slots, done)
        self._switchboard = None if voice is None else Switchboard(voice)
        self._crew = Crew(slots, self._ledger, Nursery(max_jobs, max_memory, self._switchboard))
        self._begun = False

    def free(self) -> int:
        return self._ledger.free()

    def submit(self, calls: Sequence[Call]) -> None:
        with self._ledger.lock:
            taken = self._ledger.admit(calls)
            if taken:
                self._crew.post(partial(self._crew.take, tuple(calls)))
                if not self._begun:
                    self._begun = True
                    atexit.register(self.close, 0.0)  # runs before multiprocessing's own, which waits for children
                    self._crew.start()
        if not taken:
            self._ledger.turn_away(calls)

    def stop(self, call: Call, why: Ending) -> None:
        if call.stopping is None:
            call.stopping = why
        self._crew.post(partial(self._crew.stop, call))

    def kill(self, call: Call) -> None:
        self._crew.post(partial(self._crew.kill, call))

    def close(self, grace: float) -> None:
        self._ledger.shut(grace)
        if self._begun:
            self._crew.post(self._crew.hand_back)
            if not self._ledger.wait():
                self._crew.post(self._crew.kill_all)
            self._crew.join()
            atexit.unregister(self.close)
        if self._switchboard is not None:
            self._switchboard.close()
            self._switchboard = None
        with self._ledger.lock:
            self._crew.hush()
