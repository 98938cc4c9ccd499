"""The job that runs here: what a task's function can know of it."""

from __future__ import annotations

from contextvars import ContextVar


class Running:
    """The attempt that is running. `stopping` turns true when its time is up or it was cancelled."""

    __slots__ = ("attempt", "id", "stopping", "task")

    def __init__(self, id: str, task: str, attempt: int) -> None:
        self.id = id
        self.task = task
        self.attempt = attempt
        self.stopping = False


running: ContextVar[Running] = ContextVar("longboat.running")


def current() -> Running:
    """The job that this function is running for. Raises LookupError outside of a job."""
    try:
        return running.get()
    except LookupError:
        raise LookupError("no job is running here: longboat.current() works inside a task that a worker runs") from None
