"""Status: what a worker is doing: taking jobs, quiet, or finished, and why. All its parts read it and report to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from longboat.core.clock import SYSTEM

log = logging.getLogger("longboat.worker")

SILENCE = 5.0
"""Seconds beyond the lease without a heartbeat after which a worker is not well: a call to a frozen broker takes some."""
LONGEST = 300
"""Characters of an error in a reason, at most; the log has it whole."""


class Status:
    """Of one worker. Any thread may use it."""

    def __init__(self, name: str, lease: float) -> None:
        self.name = name
        self.finished = threading.Event()
        """There is nothing more to do here: `reason` says why. Whoever started the worker then closes it."""
        self.reason = ""
        self.error: BaseException | None = None
        """What a thread of the worker ended by."""
        self.alarm = threading.Event()
        """The worker stops at once, without waiting for whoever started it."""
        self.quiet = False
        """No more jobs are taken for now."""
        self.blocked = ""
        """By what the event loop is blocked: no jobs are taken until it runs again. See loop_watch.py."""
        self.replaced = False
        """Whether another process takes this one's place when it ends. Inside a program nobody does: a call that cannot be
        ended costs a thread there, and the worker goes on."""
        self.beat_at = SYSTEM.monotonic()
        """When the heartbeat's thread came round last."""
        self.beaten: Callable[[], None] = lambda: None
        """Called then, whether the broker answers or not."""
        self.on_failure: Callable[[str], None] = lambda _: None
        """Called with the reason when a part has failed."""
        self._lease = lease

    def finish(self, reason: str) -> None:
        """Say that this worker has nothing more to do. The first reason stays."""
        if not self.finished.is_set():
            self.reason = reason
            self.finished.set()

    def failed(self, part: str, error: BaseException) -> None:
        """A part of the worker has ended by this error: the worker has finished, whatever else it has finished for."""
        try:
            log.critical("the worker's %s failed: the worker stops, and hands back its jobs", part, exc_info=error)
        finally:
            if self.error is None:
                said = " ".join(f"{type(error).__name__}: {error}".split())
                self.error, self.reason = error, f"the {part} failed: {said[:LONGEST]}"
                self.finished.set()
                self.on_failure(self.reason)
                self.alarm.set()

    @property
    def state(self) -> str:
        """In one word, for people."""
        if self.finished.is_set():
            return "stopping"
        if self.blocked:
            return "blocked"
        return "quiet" if self.quiet else "working"

    @property
    def taking(self) -> bool:
        """Whether jobs are received."""
        return not (self.quiet or self.blocked or self.finished.is_set())

    def unwell(self) -> str | None:
        """What is wrong with this process, if anything. A broker that is down is not."""
        if self.error is not None:
            return self.reason
        if self.blocked:
            return self.blocked
        silent = SYSTEM.monotonic() - self.beat_at
        return f"no heartbeat for {silent:.0f} s" if silent > self._lease + SILENCE else None
