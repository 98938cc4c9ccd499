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


def settle_apart(consumer: Consumer, batch: Sequence[Settlement], started: Sequence[Lease] = ()) -> None:
    """As `consumer.settle`. Raises what that raises for an outage, and where it refuses every single one."""
    try:
        consumer.settle(batch, started=started)
        return
    except OUTAGES:
        raise
    except Exception as error:
        if not batch:
            raise
        refusal = error
    refused = [each for each in batch if not _accepted(consumer, each)]
    if len(refused) == len(batch):
        raise refusal
    for each in refused:
        log.error("no outcome of job %s can be settled: its lease ends with this worker", each.lease.job.id)
    consumer.settle((), started=started)


def _accepted(consumer: Consumer, settlement: Settlement) -> bool:
    """Whether the outcome is recorded; or another in its place, which says why it could not be."""
    try:
        consumer.settle([settlement])
    except OUTAGES:
        raise
    except Exception as error:
        job, attempt = settlement.lease.job, settlement.lease.attempt
        log.exception("the outcome of job %s is refused: it is dead", job.id)
        settlement.outcome = Dead(reasons.unsettled(f"{type(error).__name__}: {error}", SYSTEM.now(), attempt))
    else:
        return True
    try:
        consumer.settle([settlement])
    except OUTAGES:
        raise
    except Exception:
        return False
    return True
