"""Outcome of an attempt -> what becomes of the job. Pure: every broker applies what this file decides.

Brokers decide a success (Done) on their fast path, as its row below says; a broker in another language mirrors the table,
and `tests/core/test_transitions.py` plays both.

    outcome    state                            attempt counts   worker deaths   failures gain
    Done       succeeded                        yes              -               -
    Retry      ready, or scheduled by its delay yes              forgotten       the failure
    Dead       dead                             as it says       -               the failure
    Cancelled  cancelled                        no               -               the failure
    Release    ready, or scheduled by its delay no               stay            -
    Park       waiting                          no               stay            -

Where the job's cancellation was requested meanwhile, Retry, Release and Park end as cancelled, with a failure that says so.
"""

from __future__ import annotations

import msgspec

from longboat.core import reasons
from longboat.core.job import Cancelled, Dead, Done, Failure, Outcome, Park, Release, Retry, State


class Transition(msgspec.Struct, frozen=True):
    """What becomes of a leased job once an attempt was settled."""

    state: State
    counts: bool = False
    """The attempt counts: one more has been made."""
    delay: float = 0.0
    """Seconds before it may start again (scheduled), or until it is dead for want of a worker that knows it (waiting)."""
    forgets_deaths: bool = False
    """How often a worker died with the job counts anew."""
    failures: tuple[Failure, ...] = ()
    """To be recorded with the job, oldest first."""
    parked: Failure | None = None
    """The failure that it dies of should no worker know its task in time."""


def after(outcome: Outcome, *, cancelled: bool, now: float, attempts: int = 0) -> Transition:
    """`cancelled`: the cancellation of the job was requested. `attempts`: those made before this one."""
    match outcome:
        case Done():
            return Transition(State.SUCCEEDED, counts=True)
        case Dead(failure, counts):
            return Transition(State.DEAD, counts=counts, failures=(failure,))
        case Cancelled(failure):
            return Transition(State.CANCELLED, failures=(failure,))
        case Retry(delay, failure) if cancelled:
            return Transition(State.CANCELLED, counts=True, failures=(failure, reasons.cancelled(now, attempts + 1)))
        case Retry(delay, failure):
            return Transition(_back(delay), counts=True, delay=delay, forgets_deaths=True, failures=(failure,))
        case Release() | Park() if cancelled:
            return Transition(State.CANCELLED, failures=(reasons.cancelled(now, attempts),))
        case Release(delay):
            return Transition(_back(delay), delay=delay)
        case Park(patience, failure):
            return Transition(State.WAITING, delay=patience, parked=failure)


def _back(delay: float) -> State:
    return State.SCHEDULED if delay > 0 else State.READY
