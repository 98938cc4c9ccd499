"""Settling where the broker refuses a batch because of one job: each by itself, and that one is dead, with the reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Dead
from longboat.errors import BrokerFull, BrokerUnavailable, StoreTooNew

log = logging.getLogger("longboat.worker")

OUTAGES = (BrokerUnavailable, BrokerFull, StoreTooNew)
"""No job is the reason: waiting helps."""
ENOUGH = 10
"""Refused one after the other, with none accepted: then it is not about a job."""


def settle_apart(consumer: Consumer, batch: Sequence[Settlement], started: Sequence[Lease] = ()) -> None:
    """As `consumer.settle`. Raises what that raises for an outage, and where it refuses all: then no outcome is changed."""
    if (refusal := _refusal(consumer, batch, started)) is None:
        return
    refused: list[Settlement] = []
    for at, each in enumerate(batch):
        if _refusal(consumer, [each]) is not None:
            refused.append(each)
        if len(refused) == at + 1 >= ENOUGH:
            raise refusal
    accepted = len(refused) < len(batch)
    for each in refused:
        if (why := _refusal(consumer, [each])) is None:  # once more: perhaps it was not about the job after all
            accepted = True
            continue
        dead = Dead(reasons.unsettled(f"{type(why).__name__}: {why}", SYSTEM.now(), each.lease.attempt))
        if _refusal(consumer, [Settlement(each.lease, dead)]) is None:
            log.error("the outcome of job %s is refused: it is dead", each.lease.job.id, exc_info=why)
            each.outcome, accepted = dead, True
        elif accepted:
            log.error(
                "no outcome of job %s can be settled: its lease ends with this worker", each.lease.job.id, exc_info=why
            )
        else:
            raise refusal
    if not batch or (started and (refusal := _refusal(consumer, (), started)) is not None):
        raise refusal


def _refusal(consumer: Consumer, batch: Sequence[Settlement], started: Sequence[Lease] = ()) -> Exception | None:
    """Settle; what was raised, other than an outage."""
    try:
        consumer.settle(batch, started=started)
    except OUTAGES:
        raise
    except Exception as error:
        return error
    return None
