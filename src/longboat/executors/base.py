"""Executor: what runs functions. All of them share the calls in hand, one reply for each, and the wait for the last one."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from longboat.contract.base_forks import remake_after_fork
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


class Executor(ABC):
    """Runs calls: every one between `submit` and its reply is in hand. All methods may be called from any thread.

    Whoever takes a call out of `_waiting`, or out of what the executor runs, makes its reply. `lock` may guard an
    executor's own state as well.
    """

    _last_chance = 0.0
    """Seconds that running calls get at the end of close's grace, once they were asked to stop."""

    def __init__(self, slots: int, owner: Owner) -> None:
        self.slots = slots
        """How many calls run at the same time."""
        self.worn = ""
        """The task of a call that could not be stopped, and holds a thread for good: the worker's process should be
        replaced."""
        self.lock = threading.Condition()
        self.closed = False
        self.copied = False
        """This is a forked child's copy. A task whose child comes back here ends there: it is no second worker."""
        self._owner = owner
        self._open: set[Call] = set()
        self._deadline = math.inf
        self._waiting: set[Call] | deque[Call] = set()
        remake_after_fork(self)

    def free(self) -> int:
        """Slots, less the calls in hand; negative while some of these wait for a slot."""
        return self.slots - len(self._open)

    def submit(self, calls: Sequence[Call]) -> None:
        """Run these, in order, as slots get free. Returns at once and never raises for what a task does."""
        with self.lock:
            if taken := not self.closed:
                self._open.update(calls)
                self._begin(calls)
        if not taken:
            self.turn_away(calls)

    def stop(self, call: Call, why: CallEnd) -> None:
        """Ask the function to end, because of TIMEOUT or CANCELLED.

        It is told by CancelledError in a coroutine, Stopped in a child process, `current().stopping` in a thread.
        A call that had not started ends at once, with `why`. The reply's ending is `why` unless the function
        returned all the same (RETURNED: its result counts).
        """
        if call.stopping is None:
            call.stopping = why
        if self._withdraw(call):
            self.reply(call, invoke.stopped(call))
        else:
            self._ask_to_stop(call)

    def kill(self, call: Call) -> None:
        """End it now: the coroutine or thread is abandoned, the child killed.

        The reply follows promptly, with the reason that `stop` was given.
        """
        if self._withdraw(call):
            self.reply(call, invoke.stopped(call))
        else:
            self._cut_off(call)

    def hand_back(self, keep: int) -> None:
        """Reply UNSTARTED for the calls that wait for a slot in use, except `keep` of them."""
        back: list[Call] = []
        keep += max(0, self.slots - len(self._in_slots()))
        with self.lock, contextlib.suppress(KeyError, IndexError):  # the last one has just begun
            while len(self._waiting) > keep:
                back.append(self._waiting.pop())
        self.turn_away(back)

    def close(self, grace: float) -> None:
        """Take no more; what has not started replies UNSTARTED at once. Running calls get `grace` seconds to end.

        What still runs after that is killed and replies UNSTARTED too (it is handed back, and counts as no attempt).
        Returns when every call has replied and all processes and threads are gone (abandoned threads excepted).
        Calling it again from another thread with a shorter grace shortens the wait.
        """
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

    def stack(self, call: Call) -> str:  # noqa: ARG002  # who can tell it does
        """Where the function of a running call is now, as a traceback shows it; empty if that cannot be told."""
        return ""

    def after_fork(self) -> None:
        self.copied = True

    @abstractmethod
    def _begin(self, calls: Sequence[Call]) -> None:
        """Run these as slots get free; under the lock."""

    @abstractmethod
    def _ask_to_stop(self, call: Call) -> None:
        """Have the function of a call that does not wait here told that it is to end."""

    @abstractmethod
    def _cut_off(self, call: Call) -> None:
        """End a call that does not wait here, and reply."""

    def _in_slots(self) -> Collection[Call]:
        """The calls that run; of executors that leave `close` as it is."""
        return ()

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
