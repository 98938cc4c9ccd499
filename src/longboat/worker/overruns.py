"""Overruns: jobs that held the interpreter's lock beyond their time limit, as a supervisor found, for who gets them next."""

from __future__ import annotations

import contextlib
import random

import msgspec

from longboat.contract.broker import Lease
from longboat.contract.kv import KV, Entry
from longboat.core.job import Dead, Failure, Outcome
from longboat.errors import BrokerError
from longboat.executors.contract import TIMEOUT, CallEnd, Reply
from longboat.executors.timed_calls import TimedCall
from longboat.tasks.task import Settings
from longboat.worker.outcomes import outcome_of

OVERRUNS = "overruns"
"""The KV namespace: by job id, the number of the attempt."""
KEPT = 86400.0
TEXT = (
    "took longer than its timeout, and held the interpreter's lock, so that nothing else ran in its worker process: the "
    "supervisor killed that"
)


def note(kv: KV, call: TimedCall) -> None:
    """Before the dead worker's jobs come back. Raises BrokerError."""
    kv.write(OVERRUNS, [Entry(call.job, msgspec.msgpack.encode(call.attempt), KEPT)])


def verdict(kv: KV, lease: Lease, settings: Settings) -> Outcome | None:
    """What becomes of a job that has overrun; None if it is to run."""
    attempt = None
    with contextlib.suppress(BrokerError, msgspec.MsgspecError):  # then it is found out by the quarantine
        value = kv.read(OVERRUNS, [lease.job.id])[0]
        attempt = None if value is None else msgspec.msgpack.decode(value, type=int)
    failure, chance = Failure(TIMEOUT, TEXT), random.random()
    if attempt == lease.attempt:
        return outcome_of(lease, settings, Reply(CallEnd.TIMEOUT, failure=failure), chance)
    if attempt == lease.attempt - 1 and settings.policy.delay(lease.attempt - 1, chance) is None:
        return Dead(failure, counted=False)  # the broker knew that it had started, and has counted the attempt
    return None
