"""What the executors share: the calls in hand, one reply for each, and the wait for the last of them at the end."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from longboat.executors import invoke
from longboat.executors.contract import Call, CallEnd, Owner, Reply


def watched(part: str, loop: Callable[[], None], failed: Callable[[str, BaseException], None]) -> threading.Thread:
    """A daemon thread that runs `loop` and reports what that raises: it cannot end silently."""

    def run() -> None:
        try:
            loop()
        except BaseException as error:
            failed(part, error)

    return threading.Thread(target=run, name=f"longboat-{part}", daemon=True)


class BaseExecutor:
    """Every call between `submit` and its reply. `lock` may guard an executor's own state as well.

    An executor says how it begins calls (`_begin`, under the lock), how it asks a running one to end (`_ask_to_stop`) and
    how it ends one (`_cut_off`). Whoever takes a call out of `_waiting` or `_running` makes its reply.
    """

    _last_chance = 0.0
    """Seconds that running calls get at the end of close's grace, once they were asked to stop."""

    def __init__(self, slots: int, owner: Owner) -> None:
        self.slots = slots
        self.worn = False
        self.lock = threading.Condition()
        self.closed = False
        self._owner = owner
        self._open: set[Call] = set()
        self._deadline = math.inf
        self._waiting: set[Call] | deque[Call] = set()

    def free(self) -> int:
        return self.slots - len(self._open)

    def submit(self, calls: Sequence[Call]) -> None:
        with self.lock:
            if taken := not self.closed:
                self._open.update(calls)
                self._begin(calls)
        if not taken:
            self.turn_away(calls)

    def stop(self, call: Call, why: CallEnd) -> None:
        if call.stopping is None:
            call.stopping = why
        if self._withdraw(call):
            self.reply(call, invoke.stopped(call))
        else:
            self._ask_to_stop(call)

    def kill(self, call: Call) -> None:
        if self._withdraw(call):
            self.reply(call, invoke.stopped(call))
        else:
            self._cut_off(call)

    def close(self, grace: float) -> None:
        self.shut(grace)
        self.turn_away([call for call in tuple(self._waiting) if self._withdraw(call)])
        if self.wait():
            return
        for call in tuple(self._in_slots()):
            self.stop(call, CallEnd.UNSTARTED)
        if not self.wait(self._last_chance):
            for call in tuple(self._in_slots()):
                self.kill(call)
            self.wait(math.inf)

    # --- the calls in hand

    def reply(self, call: Call, reply: Reply) -> None:
        """Hand over the one reply of a call in hand."""
        try:
            self._owner.done(call, reply)
        except BaseException as error:
            self._owner.failed("replies", error)
        finally:
            self._open.discard(call)
            if self.closed:
                with self.lock:
                    self.lock.notify_all()

    def turn_away(self, calls: Iterable[Call]) -> None:
        """Reply that these never ran."""
        for call in calls:
            self.reply(call, Reply(CallEnd.UNSTARTED))

    def give_up(self) -> None:
        """Reply that no call in hand has run: what ran them has failed."""
        self.turn_away(tuple(self._open))

    def shut(self, grace: float) -> None:
        """Take no more calls, and let `wait` end within `grace` seconds from now."""
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

    def _withdraw(self, call: Call) -> bool:
        """Whether the call was waiting; it waits no more."""
        with self.lock:
            try:
                self._waiting.remove(call)
            except (KeyError, ValueError):
                return False
            return True

    # --- what executors do in their own way

    def _begin(self, calls: Sequence[Call]) -> None:
        """Run these as slots get free; under the lock."""
        raise NotImplementedError

    def _ask_to_stop(self, call: Call) -> None:
        """Have the function of a call that does not wait here told that it is to end."""
        raise NotImplementedError

    def _cut_off(self, call: Call) -> None:
        """End a call that does not wait here, and reply."""
        raise NotImplementedError

    def _in_slots(self) -> Collection[Call]:
        """The calls that run."""
        raise NotImplementedError
