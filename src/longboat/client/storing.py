"""Storing the jobs of one call: those that a unique key leaves, with the record of their flow, by one put."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from longboat.client.flows import add_members, put_flow
from longboat.contract.optional import Within
from longboat.core.constraints import Constraints
from longboat.core.job import Job
from longboat.errors import ConfigError, EnqueueError, Unsupported
from longboat.operate.unique import Claims
from longboat.tasks.flow import renamed
from longboat.tasks.outgoing import Outgoing

REFUSALS = (ConfigError, EnqueueError, Unsupported)
"""Nothing of a batch is stored that holds a job which the broker cannot take."""


def store(at: Within, jobs: list[Job], outgoing: Outgoing, put: Callable[[list[Job]], Collection[str]]) -> set[str]:
    """Store these jobs of a call, together or not at all; returns the ids that were new.

    A job for whose key another one stands is not stored: it gets the id of that one.
    """
    claims = Claims(at)

    def storing() -> Collection[str]:
        return put(claims.jobs) if claims.jobs else ()

    if outgoing.keys:
        claims.claim(jobs, outgoing.keys)
    else:
        claims.jobs = jobs
    if outgoing.flow:
        outgoing.ends = renamed(outgoing.ends, claims.ids)
        new = put_flow(at.kv, outgoing, storing)
    else:
        for job in claims.jobs if outgoing.parent else ():
            adopt(at, job, outgoing.parent)
        new = storing()
    claims.confirm()
    return set(new)


def adopt(at: Within, job: Job, parent: str) -> None:
    """Name the parent under the header "parent", and make the job a member of the parent's flow, if it has one.

    Where the broker cannot look the parent up, the job is in no flow.
    """
    job.headers = {**job.headers, "parent": parent}
    try:
        view = at.inspector.find([parent])[0]
    except Unsupported:
        return
    if view is not None and view.constraints is not None and view.constraints.flow:
        job.constraints = msgspec.structs.replace(job.constraints or Constraints(), flow=view.constraints.flow)
        add_members(at.kv, view.constraints.flow, [job])
