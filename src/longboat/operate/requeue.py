"""Jobs into another queue of the same broker: taken out whole and put in again, as for a move (contract/transfer.py).

A batch has a name that says which queue it goes to, so what a killed process left on its way is put in by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from longboat.contract.broker import FORGOTTEN_AFTER, Broker
from longboat.contract.transfer import ExportedJob
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Job, new_id, order_of
from longboat.errors import Undecodable

_TO = "queue "
_DISCARDED = "discarded"
_QUEUE = Job.__struct_fields__.index("queue")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def requeue(broker: Broker, ids: Sequence[str], queue: str) -> int:
    """Move these jobs into the queue, with their attempts and failures; returns how many.

    Those that run, have ended (but for the dead) or are part of a flow stay where they are. A job that is on its way when
    this process is killed is put in by `resume`.
    """
    total, left = 0, list(ids)
    while left:
        name = f"{new_id()} {_TO}{queue}"
        exported_jobs = broker.transfer.export_jobs(name, left)
        if not exported_jobs:
            break
        total += _put_in(broker, name, exported_jobs, queue)
        left = left[left.index(exported_jobs[-1].id) + 1 :]  # there may have been more than go in one batch
    return total


def discard(broker: Broker, ids: Sequence[str]) -> int:
    """Delete these jobs, unless they run, have succeeded or been cancelled, or are part of a flow; returns how many."""
    total, left = 0, list(ids)
    while left:
        name = f"{new_id()} {_DISCARDED}"
        exported_jobs = broker.transfer.export_jobs(name, left)
        broker.transfer.confirm(name)
        total += len(exported_jobs)
        if not exported_jobs:
            break
        left = left[left.index(exported_jobs[-1].id) + 1 :]
    return total


def resume(broker: Broker) -> int:
    """Finish what killed processes began (or those do now that go on: it is harmless); returns how many jobs were put in.

    Of those that were killed over a day ago, what had been put in and has run since may run once more: that is logged.
    """
    total = 0
    for name in broker.transfer.unconfirmed():
        began, _, to = name.partition(" ")
        if to == _DISCARDED:
            broker.transfer.confirm(name)
        elif to.startswith(_TO) and (order := order_of(began)) is not None:
            exported_jobs = broker.transfer.export_jobs(name, [])
            age = max(0.0, SYSTEM.now() - (order >> 12) / 1e6)
            if age > FORGOTTEN_AFTER and exported_jobs:
                logging.getLogger("longboat").warning(
                    "%d jobs were on their way to %s for over a day: any that ran may run again", len(exported_jobs), to
                )
            for exported in exported_jobs:
                exported.delay = max(0.0, exported.delay - age)
                exported.expires = None if exported.expires is None else exported.expires - age
            total += _put_in(broker, name, exported_jobs, to.removeprefix(_TO)) if exported_jobs else 0
    return total


def _put_in(broker: Broker, name: str, exported_jobs: Sequence[ExportedJob], queue: str) -> int:
    for exported in exported_jobs:
        exported.queue, exported.message = queue, _redirected(exported.message, queue)
    new = broker.transfer.import_jobs(name, exported_jobs)
    broker.transfer.confirm(name)
    return len(new)


def _redirected(message: bytes, queue: str) -> bytes:
    """The same message for another queue: whatever else stands in it stays, also what only a newer Longboat knows."""
    try:
        codec.decode_job(message)
    except Undecodable:
        return message
    parts = _decode(message)
    parts[_QUEUE] = msgspec.Raw(_encode(queue))
    return _encode(parts)
