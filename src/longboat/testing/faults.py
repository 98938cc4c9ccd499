"""Faults that a test has happen to the workers that run its jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from longboat.errors import ConfigError
from longboat.testing.steps import Steps, deadly_after
from longboat.worker.inline import JobLost, WorkerKilled

NOT_REAL = (
    "kill and duplicate strike jobs that perform_jobs or eager runs; a real worker is a part of the test's own process, "
    "which would die with it"
)


@dataclass(eq=False)
class Fault:
    """What happens to the next job of a task: its worker dies, or has lost the job."""

    task: str
    after: str | None = None
    """A part of a line of code; None: once the function has returned."""
    duplicate: bool = False
    steps: Steps | None = None
    """Raises WorkerKilled where the worker is to die; None: as `after` says."""
    survives: bool = False
    """The run may come to its end."""

    @contextlib.contextmanager
    def struck(self) -> Iterator[None]:
        """Around the function."""
        steps = self.steps or (deadly_after(self.after) if self.after is not None else None)
        if steps is None:
            yield
        else:
            with steps.traced():
                yield
            if self.survives:
                return
            if self.after is not None and not steps.dead:
                raise MissedFault(f"{self.task} ran to its end, and no line of it has {self.after!r}")
        raise JobLost if self.duplicate else WorkerKilled


class MissedFault(BaseException):
    """The test's own mistake, not a failure of the job."""


class NoFaults(list[Fault]):
    """While jobs run in a real worker."""

    def append(self, _: Fault, /) -> None:
        raise ConfigError(NOT_REAL)
