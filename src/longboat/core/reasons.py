"""Why a job ended or came back: the type and the words of every Failure that Longboat itself makes, each said once."""

from __future__ import annotations

from longboat.core.job import Failure

WORKER_DIED = "longboat.WorkerDied"
UNDECODABLE = "longboat.Undecodable"
EXPIRED = "longboat.Expired"
CANCELLED = "longboat.Cancelled"
UNKNOWN_TASK = "longboat.UnknownTask"
PAUSED = "longboat.Paused"
UNSETTLED = "longboat.Unsettled"

EXPIRED_TEXT = "the job expired before it started"
CANCELLED_TEXT = "the job was cancelled"
PURGED_TEXT = "the job was deleted before it started"


def expired(at: float, attempts: int = 0) -> Failure:
    """The job had not started when its time was over. `attempts`: those made so far."""
    return Failure(EXPIRED, EXPIRED_TEXT, attempt=attempts, at=at)


def cancelled(at: float, attempts: int = 0) -> Failure:
    """Somebody cancelled it before an outcome was settled."""
    return Failure(CANCELLED, CANCELLED_TEXT, attempt=attempts, at=at)


def purged(at: float, attempts: int = 0) -> Failure:
    """It was deleted while it was ready: told to who waits where nobody can look for it."""
    return Failure(CANCELLED, PURGED_TEXT, attempt=attempts, at=at)


def worker_died(worker: str, at: float, attempt: int = 0) -> Failure:
    """The worker's heartbeat ended while it held the job; `attempt` is the one that had started."""
    return Failure(WORKER_DIED, f"worker {worker} died while it ran this job", attempt=attempt, at=at, worker=worker)


def undecodable(why: str, at: float, attempts: int = 0) -> Failure:
    """Its stored message cannot be read."""
    return Failure(UNDECODABLE, why, attempt=attempts, at=at)


def unknown_task(task: str, patience: float, at: float, worker: str) -> Failure:
    """No worker that knows the task came while the job was parked; said by the worker that parked it."""
    return Failure(UNKNOWN_TASK, f"no worker that knows task {task!r} came within {patience:g} s", at=at, worker=worker)


def paused(task: str, at: float, worker: str) -> Failure:
    """The task stayed paused for as long as the job was parked."""
    return Failure(PAUSED, f"task {task!r} is paused", at=at, worker=worker)


def unsettled(why: str, at: float, attempt: int) -> Failure:
    """The broker refuses what became of it, but not that it is dead."""
    text = why[:1000].encode("utf-8", "backslashreplace").decode()
    return Failure(UNSETTLED, f"its outcome could not be recorded: {text}", attempt=attempt, at=at)
