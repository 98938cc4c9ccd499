"""What events tell of single jobs: their state and how far they are, for those who cannot look jobs up."""

from __future__ import annotations

import msgspec

from longboat.core.job import Failure, State
from longboat.observe.events import (
    Event,
    JobCancelled,
    JobDied,
    JobEnqueued,
    JobEvent,
    JobParked,
    JobProgressed,
    JobRetried,
    JobStarted,
    JobSucceeded,
)


class Heard(msgspec.Struct):
    """A job as far as events told of it since somebody listened."""

    id: str
    task: str
    queue: str
    at: float
    """Wall-clock time of the last event."""
    state: State = State.READY
    attempts: int = 0
    worker: str = ""
    """Who told of it last, if a worker did."""
    enqueued: float | None = None
    started: float | None = None
    due: float | None = None
    """When the next attempt is made."""
    ended: float | None = None
    failures: list[Failure] = []
    """Those that were told, shortened: at most the newest 25."""
    done: float = 0.0
    total: float | None = None
    text: str = ""


_STATES: dict[type[Event], State] = {
    JobEnqueued: State.READY,
    JobStarted: State.RUNNING,
    JobProgressed: State.RUNNING,
    JobSucceeded: State.SUCCEEDED,
    JobRetried: State.SCHEDULED,
    JobDied: State.DEAD,
    JobCancelled: State.CANCELLED,
    JobParked: State.WAITING,
}


def hear(known: Heard | None, event: JobEvent) -> Heard | None:
    """What is known of the event's job, `known` brought up to date; None where this kind tells nothing of it.

    The caller's event may come after those of a fast worker.
    """
    state = _STATES.get(type(event))
    if state is None:
        return known
    found = known or Heard(event.id, event.task, event.queue, event.at)
    if isinstance(event, JobEnqueued):
        found.enqueued = event.at
        if known is None and event.delay:
            found.state, found.due = State.SCHEDULED, event.at + event.delay
        return found
    found.at, found.state, found.worker, found.due = event.at, state, event.worker, None
    found.ended = event.at if state.ended else None
    match event:
        case JobStarted(attempt=attempt):
            found.started, found.attempts = event.at, attempt - 1
        case JobProgressed(done=done, total=total, text=text):
            found.done, found.total, found.text = done, total, text
        case JobSucceeded(attempt=attempt, seconds=seconds):
            found.attempts, found.started = attempt, event.at - seconds
        case JobRetried(attempt=attempt, failure=failure, delay=delay):
            found.attempts, found.due, found.failures = attempt, event.at + delay, [*found.failures, failure][-25:]
        case JobDied(attempt=attempt, failure=failure):
            found.attempts, found.failures = attempt, [*found.failures, failure][-25:]
        case JobCancelled(reason=reason):
            found.text = reason
        case _:
            pass
    return found
