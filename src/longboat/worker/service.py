"""Service: a part of a worker that has a thread of its own. It is started, it is stopped, and it never ends silently."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from longboat.executors.base import watched
from longboat.worker.status import Status


class Wake:
    """Where one thread sleeps until another has something for it. Whoever can, rings only while it is `asleep`."""

    def __init__(self) -> None:
        self.asleep = False
        self._event = threading.Event()

    def ring(self) -> None:
        """End the sleep, or the next one."""
        self._event.set()

    def sleep(self, seconds: float | None, *, unless: Callable[[], object] = lambda: False) -> None:
        self.asleep = True
        if not unless():  # asked once `asleep` is set, so that nothing is missed
            self._event.wait(seconds)
        self.asleep = False
        self._event.clear()

    def nap(self, seconds: float) -> None:
        """A short sleep, for which `asleep` is not set: only what cannot wait ends it."""
        self._event.wait(seconds)
        self._event.clear()


class Service(ABC):
    """`loop` runs in the service's thread until `stopping` is set. An error that it raises finishes the worker."""

    def __init__(self, name: str, status: Status, wake: Wake | None = None) -> None:
        self.status = status
        self.wake = wake or Wake()
        self.stopping = False
        self._thread = watched(name, self._run, status.failed)
        self._starting = threading.Lock()

    @property
    def ran(self) -> bool:
        """Whether it was started."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Start the thread, unless it was started."""
        with self._starting:
            if not self.ran:
                self._thread.start()

    def stop(self) -> None:
        """Have the loop end soon. Returns at once."""
        self.stopping = True
        self.wake.ring()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self.stop()
        if self.ran:
            self._thread.join()

    def _run(self) -> None:
        self.loop()
        if not self.stopping and not self.status.finished.is_set():
            raise RuntimeError("its loop has ended although nobody stopped it")

    @abstractmethod
    def loop(self) -> None:
        """What the thread does."""
