"""Spawner: starts child processes, and pauses if they die before they are of use."""

from __future__ import annotations

import logging
import multiprocessing
import time
from multiprocessing.context import BaseContext
from multiprocessing.sharedctypes import RawArray

from longboat.executors.child_link import ChildLink
from longboat.executors.job_channel import JobChannels
from longboat.executors.wire import WORDS, ChildSettings

HOPELESS = 3
"""Failed starts in a row after which calls that wait for a child are refused."""

YOUNG = 1.0
"""A child that dies within so many seconds, and never began a call, counts as a failed start."""

LONGEST_PAUSE = 10.0

log = logging.getLogger("longboat.worker")


class Spawner:
    def __init__(self, settings: ChildSettings, job_channels: JobChannels | None) -> None:
        self._settings = settings
        self._job_channels = job_channels
        self._context: BaseContext | None = None
        self._failed = 0
        self._failed_at = 0.0
        self._cause = ""
        self.impossible = False
        """The last start raised an error: this machine can make no child now."""
        try:
            RawArray(*WORDS)
        except OSError as error:
            self._tell(error)

    def due(self) -> float:
        """The monotonic time before which no child is to be started."""
        return self._failed_at + min(LONGEST_PAUSE, 0.1 * 2.0**self._failed) if self._failed else 0.0

    def careful(self) -> bool:
        """Whether to start children one at a time."""
        return self._failed > 0

    def start(self) -> ChildLink | None:
        """A new child; None if it could not be started, which counts as a failure."""
        if self._context is None:
            self._context = _context()
        try:
            job_channel = self._job_channels.connect() if self._job_channels is not None else None
            link = ChildLink(self._context, self._settings, job_channel)
        except Exception as error:  # no memory, no descriptors, a fork server that died: multiprocessing has no one error
            if not self.impossible:
                self._tell(error)
            self._fail(f"starting it raised {type(error).__name__}: {error}")
            return None
        self.impossible = False
        return link

    def useful(self) -> None:
        """A child has answered a call."""
        self._failed = 0

    def died(self, link: ChildLink, how: str) -> None:
        """A child has died that never began a call."""
        # Children that were started together fail together, which counts once.
        if time.monotonic() - link.born < YOUNG and link.born >= self._failed_at:
            self._fail(how)

    def hopeless(self) -> str:
        """Why no child can be started; empty if one can."""
        if self._failed < HOPELESS:
            return ""
        return (
            f"no child process can be started: {self._cause}, {self._failed} times in a row. Its own report is in the "
            "worker's standard error. If it fails while it imports the main module, see that this can be imported anywhere, "
            "with what starts the program under `if __name__ == '__main__':`"
        )

    def _tell(self, error: Exception) -> None:
        self.impossible = True
        log.error(
            "no child process can be made here, so jobs with executor='process' are handed back: %s: %s. It needs memory, "
            "descriptors, and a directory for temporary files that can be written to: /dev/shm, or what TMPDIR names",
            type(error).__name__,
            error,
        )

    def _fail(self, cause: str) -> None:
        self._failed += 1
        self._failed_at = time.monotonic()
        self._cause = cause


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["longboat.executors.preload"])
    return context
