"""Jobs to another queue of the same broker: exported whole and imported again, as in a move to another broker.

A batch's name says which queue it goes to, so whatever a killed process left in transfer is imported by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.transfer import ExportedJob
from longboat.core import codec
from longboat.core.job import Job, order_of
from longboat.errors import Undecodable
from longboat.operate.batches import batches, resumed, unconfirmed

_TO = "queue "
_DISCARDED = "discarded"
_RETRIED = "retried"
_QUEUE = Job.__struct_fields__.index("queue")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def requeue(broker: Broker, ids: Sequence[str], queue: str) -> list[str]:
    """Move these jobs to the queue, with their attempts and failures; returns the ids of those moved.

    Jobs that are running, have ended (except dead ones) or are part of a flow stay where they are. A job that is in
    transfer when this process is killed is imported by `resume`.
    """
    return [each for name, jobs in batches(broker, ids, f"{_TO}{queue}") for each in _import(broker, name, jobs, queue)]


def discard(broker: Broker, ids: Sequence[str]) -> list[str]:
    """Delete these jobs, unless they are running, succeeded, were cancelled, or are part of a flow; returns their ids."""
    done: list[str] = []
    for name, jobs in batches(broker, ids, _DISCARDED):
        broker.transfer.confirm(name)
        done += [job.id for job in jobs]
    return done


def retry_later(broker: Broker, delays: Mapping[str, float]) -> list[str]:
    """Retry these dead jobs, by id, each after so many seconds; returns the ids of those retried.

    Those that depend on others, or that others depend on, cannot be taken out: they are retried at once.
    """
    done = [
        each
        for name, jobs in batches(broker, list(delays), _RETRIED)
        for each in _import_retried(broker, name, jobs, delays)
    ]
    return [*done, *broker.inspector.retry(list(delays.keys() - set(done)))]


def resume(broker: Broker) -> int:
    """Finish what killed processes began; returns how many jobs were imported. Harmless for processes still at work.

    If a process was killed over a day ago, jobs that it had imported and that have run since may run again: that is logged.
    """
    total = 0
    for name, to in unconfirmed(broker):
        if to == _DISCARDED:
            broker.transfer.confirm(name)
        elif to == _RETRIED:
            total += len(_import_retried(broker, name, resumed(broker, name)[0], {}))
        elif to.startswith(_TO) and order_of(name.partition(" ")[0]) is not None:
            jobs, late = resumed(broker, name)
            if late and jobs:
                logging.getLogger("longboat").warning(
                    "%d jobs were in transfer to %s for over a day: any that ran may run again", len(jobs), to
                )
            total += len(_import(broker, name, jobs, to.removeprefix(_TO))) if jobs else 0
    return total


def _import(broker: Broker, name: str, jobs: Sequence[ExportedJob], queue: str) -> list[str]:
    for job in jobs:
        job.queue, job.message = queue, _redirected(job.message, queue)
    new = broker.transfer.import_jobs(name, jobs)
    broker.transfer.confirm(name)
    return new


def _import_retried(broker: Broker, name: str, jobs: Sequence[ExportedJob], delays: Mapping[str, float]) -> list[str]:
    """Those that were dead are scheduled; one that somebody else has retried meanwhile stays as it is."""
    for job in jobs:
        if job.dead:
            job.dead, job.attempts, job.worker_deaths, job.delay = False, 0, 0, delays.get(job.id, 0.0)
    new = broker.transfer.import_jobs(name, jobs) if jobs else []
    broker.transfer.confirm(name)
    return new


def _redirected(message: bytes, queue: str) -> bytes:
    """The same message for another queue. Everything else in it stays, including fields that only a newer Longboat knows."""
    try:
        codec.decode_job(message)
    except Undecodable:
        return message
    parts = _decode(message)
    parts[_QUEUE] = msgspec.Raw(_encode(queue))
    return _encode(parts)
