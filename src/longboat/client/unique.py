"""Calls that count as one: an entry in the KV names the job that stands for a key."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.kv import Entry
from longboat.core.clock import SYSTEM
from longboat.core.job import Job, State
from longboat.tasks.limits import Unique

NAMESPACE = "unique"
KEPT = 30 * 86400.0
"""Seconds that a key is known for, where its rule names no time."""
UNSTORED = 2.0
"""Seconds that a job may be unknown after its entry was written: its caller may have died between the two."""

_STARTED = frozenset({State.SCHEDULED, State.WAITING, State.READY})
_ENDED = _STARTED | {State.RUNNING}


class Holder(msgspec.Struct, array_like=True):
    id: str
    at: float


def put_unique(broker: Broker, job: Job, rule: Unique, key: str, put: Callable[[Job], bool]) -> tuple[str, bool]:
    """Store the job by `put` unless another stands for the key.

    Returns the id of the job that stands for the key now, and whether it is new.
    """
    window = rule.window
    mine = msgspec.msgpack.encode(Holder(job.id, SYSTEM.now()))
    give_up: dict[str, float] = {}
    while True:
        old = broker.kv.read(NAMESPACE, [key])[0]
        if old is not None:
            holder = msgspec.msgpack.decode(old, type=Holder)
            if window is not None or _stands(broker, holder, rule, give_up):
                return holder.id, False
            if holder.id in give_up and time.monotonic() < give_up[holder.id]:
                time.sleep(0.02)
                continue
        if broker.kv.compare_and_set(NAMESPACE, Entry(key, mine, KEPT if window is None else window), old=old):
            return job.id, put(job)


def _stands(broker: Broker, holder: Holder, rule: Unique, give_up: dict[str, float]) -> bool:
    """Whether the job that has the key still stands for it."""
    view = broker.inspector.find([holder.id])[0]
    if view is None:  # it has ended and is forgotten, or is not stored yet
        if SYSTEM.now() - holder.at < UNSTORED:
            give_up.setdefault(holder.id, time.monotonic() + UNSTORED)
        return False
    give_up.pop(holder.id, None)
    if rule.latest and view.state in _STARTED:
        broker.inspector.cancel([holder.id])
        return False
    return view.state in (_STARTED if rule.until == "started" else _ENDED)
