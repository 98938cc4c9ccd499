"""Limits: the keys by which jobs are held back now, with what runs, waits and starts by each."""

from __future__ import annotations

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.limit_numbers import NAMESPACE, at_present
from longboat.core.constraints import JobLimit
from longboat.core.job import State
from longboat.core.views import LimitView

LOOKED_AT = 1000
"""Jobs of each state whose limits are listed, at most."""
STATES = (State.RUNNING, State.WAITING, State.READY)


class LimitNow(msgspec.Struct):
    """One key of a limit."""

    limit: JobLimit
    """With the numbers that hold at present."""
    view: LimitView


class Limits(msgspec.Struct):
    keys: list[LimitNow]
    """Those by which most wait first, then those by which most run."""
    whole: bool
    """Whether all jobs were looked at: if not, there may be more keys."""


def limits(broker: Broker) -> Limits:
    """The limits of jobs that run, wait or are ready. Raises BrokerError; Unsupported if the broker has none to list."""
    found: dict[str, JobLimit] = {}
    whole = True
    for state in STATES:
        page = broker.inspector.jobs(state, limit=LOOKED_AT)
        whole = whole and page.after is None
        for job in page.jobs:
            for limit in job.constraints.limits if job.constraints else ():
                if limit.key:
                    found.setdefault(limit.key, limit)
    if not found:
        return Limits([], whole)
    told = broker.kv.read(NAMESPACE, [limit.name for limit in found.values()])
    views = broker.inspector.limits(list(found))
    keys = [
        LimitNow(at_present(limit, value if limit.name else None), view)
        for limit, value, view in zip(found.values(), told, views, strict=True)
        if view is not None
    ]
    return Limits(sorted(keys, key=lambda each: (-each.view.waiting, -each.view.running, each.limit.key)), whole)
