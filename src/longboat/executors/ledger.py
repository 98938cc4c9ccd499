"""The calls that an executor has in hand, and the wait for the last of them when it is closed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable

from longboat.executors.contract import Call, Callback, CallEnd, Reply


class Ledger:
    """Every call between `admit` and `reply`. `lock` may guard an executor's own state as well."""

    def __init__(self, slots: int, done: Callback) -> None:
        self.lock = threading.Condition()
        self.closed = False
        self._slots = slots
        self._done = done
        self._open: set[Call] = set()
        self._deadline = math.inf

    def free(self) -> int:
        return self._slots - len(self._open)

    def admit(self, calls: Iterable[Call]) -> bool:
        """Take the calls in hand, under the lock. False: closed, nothing was taken."""
        if not self.closed:
            self._open.update(calls)
        return not self.closed

    def reply(self, call: Call, reply: Reply) -> None:
        """Hand over the one reply of a call in hand."""
        try:
            self._done(call, reply)
        finally:
            self._open.discard(call)
            if self.closed:
                with self.lock:
                    self.lock.notify_all()

    def turn_away(self, calls: Iterable[Call]) -> None:
        """Reply that these never ran."""
        for call in calls:
            self.reply(call, Reply(CallEnd.UNSTARTED))

    def shut(self, grace: float) -> None:
        """Admit no more, and let `wait` end within `grace` seconds from now."""
        with self.lock:
            self.closed = True
            self._deadline = min(self._deadline, time.monotonic() + grace)
            self.lock.notify_all()

    def wait(self, longer: float = 0.0) -> bool:
        """Wait for every reply until the grace of `shut` is over, and `longer`. False: some are still out."""
        with self.lock:
            while self._open:
                rest = self._deadline + longer - time.monotonic()
                if rest <= 0:
                    return False
                self.lock.wait(min(rest, 3600.0))  # a lock cannot wait for infinity
        return True
