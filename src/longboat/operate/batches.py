"""Batches of jobs in transfer: exported under a name that says when and where to, imported, confirmed.

The steps are those of contract/transfer.py. What a killed process exported and did not confirm is found by its name, and
finished by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from longboat.contract.broker import FORGOTTEN_AFTER, Broker
from longboat.contract.transfer import ExportedJob
from longboat.core.clock import SYSTEM
from longboat.core.job import new_id, order_of
from longboat.errors import BrokerError


def batches(broker: Broker, ids: Sequence[str], to: str) -> Iterator[tuple[str, Sequence[ExportedJob]]]:
    """Export these jobs: the name and the jobs of each batch, for the caller to import and confirm.

    Jobs that cannot be exported stay where they are.
    """
    left = list(ids)
    while left:
        name = f"{new_id()} {to}"
        jobs = broker.transfer.export_jobs(name, left)
        if not jobs:
            return
        yield name, jobs
        left = left[left.index(jobs[-1].id) + 1 :]  # there may be more than fit in one batch


def unconfirmed(broker: Broker) -> Iterator[tuple[str, str]]:
    """The name of each batch that was exported and not confirmed, and where it goes."""
    for name in broker.transfer.unconfirmed():
        yield name, name.partition(" ")[2]


def resumed(broker: Broker, name: str) -> tuple[Sequence[ExportedJob], bool]:
    """The jobs of an unconfirmed batch, and whether the destination may have forgotten that it has had them.

    The time in transfer is taken off their delays and expiries. None of them: another process has just confirmed the batch.
    """
    began = order_of(name.partition(" ")[0])
    if began is None:
        raise BrokerError(f"{name!r} was not exported by a move of Longboat")
    jobs = broker.transfer.export_jobs(name, [])
    age = max(0.0, SYSTEM.now() - (began >> 12) / 1e6)
    for job in jobs:
        job.delay = max(0.0, job.delay - age)
        job.expires = None if job.expires is None else job.expires - age
    return jobs, age > FORGOTTEN_AFTER
