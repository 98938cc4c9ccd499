"""Lease, settings and reply -> outcome: what becomes of a job after an attempt. Pure."""

from __future__ import annotations

from longboat.contract.broker import Lease
from longboat.core.job import Cancelled, Dead, Done, Failure, Outcome, Release, Retry
from longboat.core.reasons import WORKER_DIED
from longboat.executors.contract import CallEnd, Reply
from longboat.tasks.task import Settings

CRASHES = 3
"""Attempts that a job gets at least when its process dies under it: the death need not be its fault."""


def outcome_of(lease: Lease, settings: Settings, reply: Reply, chance: float) -> Outcome:
    """`chance` in [0, 1) spreads the retries."""
    ending = reply.ending
    if ending is CallEnd.RETURNED:
        return Done(reply.result)
    if ending is CallEnd.UNSTARTED:
        return Release()
    failure = reply.failure or Failure(f"longboat.{ending.value.title()}", "")
    if ending is CallEnd.CANCELLED:
        return Cancelled(failure)
    delay = None
    if ending is CallEnd.KILLED:
        if lease.attempt < limit(settings):
            delay = settings.policy.delay(1, chance) or chance
    elif ending is not CallEnd.REFUSED and reply.again:
        delay = settings.policy.delay(lease.attempt, chance)
    return Dead(failure) if delay is None else Retry(delay, failure)


def limit(settings: Settings) -> int:
    """Attempts that a job may have, those that ended by the death of its worker included."""
    return max(settings.policy.retries + 1, CRASHES)


def spent(lease: Lease, settings: Settings) -> Outcome | None:
    """Dead, for a job that has no attempt left because its workers died; None for one that may run."""
    if lease.attempt <= limit(settings):
        return None
    made = lease.attempt - 1
    failure = Failure(WORKER_DIED, f"its worker died while it ran, again and again: {made} attempts were made")
    return Dead(failure, counted=False)
