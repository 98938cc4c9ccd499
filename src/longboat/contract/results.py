"""The contract for results: how jobs ended, looked up or waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from longboat.core.job import Result


class Listener(Protocol):
    """Waits for any number of results over one connection. One thread waits; others may watch, forget and wake."""

    def watch(self, ids: Sequence[str]) -> None:
        """Wait for these ids too. The next `wait` gives those that have ended already."""
        ...

    def forget(self, ids: Sequence[str]) -> None:
        """Stop waiting for these."""
        ...

    def wait(self, timeout: float) -> list[Result]:
        """Results of watched ids. Each is given once, and its id is then no longer watched.

        Returns as soon as there is one, within 5 ms of its settle; [] after `timeout` seconds or a `wake`.
        """
        ...

    def wake(self) -> None:
        """Make the `wait` that waits, or the next one, return promptly."""
        ...

    def close(self) -> None: ...


class ResultStore(Protocol):
    """Keeps how jobs ended, for each job's `keep` seconds."""

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        """The results, in the order asked; None for a job that has not ended, is unknown, or is forgotten."""
        ...

    def listen(self) -> Listener: ...
