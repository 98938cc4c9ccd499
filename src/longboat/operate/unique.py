"""Calls that count as one: an entry in the KV names the job that stands for a key.

The entry is written before the job is stored. Whoever finds one whose job is not there, because its caller failed or has not
come to its put yet, stores a job of its own under the id in the entry: whichever put comes first, there is one job.

Where jobs cannot be looked up, on messages alone, the job brings its key along, and the entry is there for as long as the
job stands for it (contract/held.py). An id that is put twice makes two messages there. So whoever finds an entry whose job
is not known to be stored waits for a moment before it does that.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.contract.held import KEPT, NAMESPACE, Holder, catch_up, entry_of
from longboat.contract.kv import Entry
from longboat.contract.optional import Within
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints, JobKey
from longboat.core.job import Job, State
from longboat.errors import BrokerError, Undecodable
from longboat.tasks.limits import UniqueKey

PATIENCE = 5.0
"""Seconds from taking a key until its job is stored, at most, where nobody can look whether it was."""
PAUSE = 0.01

_STARTED = frozenset({State.SCHEDULED, State.WAITING, State.READY})
_ENDED = _STARTED | {State.RUNNING}


def put_one(broker: Broker, job: Job, key: UniqueKey | None) -> bool:
    """Put this job, unless another stands for its key: then it gets that one's id. Returns whether it is new."""
    if key is None:
        return bool(broker.put([job]))
    claims = Claims(broker)
    claims.claim([job], {job.id: key})
    new = broker.put(claims.jobs) if claims.jobs else []
    claims.confirm()
    return bool(new)


class _Claim(msgspec.Struct):
    """An entry that is to be confirmed once the job is stored."""

    key: UniqueKey
    holder: Holder
    value: bytes
    """The entry as it is now."""


class Claims:
    """The keys of jobs that are put together. `claim` all, store `jobs`, then `confirm`."""

    def __init__(self, store: Within) -> None:
        self._store = store
        self._blind = False
        """Jobs cannot be looked up."""
        self._claims: dict[str, _Claim] = {}
        """By key."""
        self.jobs: list[Job] = []
        """Those to be stored, in order."""
        self.ids: dict[str, str] = {}
        """By the id that a job had: that of the job which stands for it."""

    def claim(self, jobs: Sequence[Job], keys: dict[str, UniqueKey]) -> None:
        """Give each job the id of the one that stands for its key, also where others come after it. Raises BrokerError."""
        self._blind = bool(keys) and Capability.LOOKUP not in self._store.capabilities
        for job in jobs:
            own, key = job.id, keys.pop(job.id, None)
            if key is None or self._take(job, key):
                if key is not None and self._blind and key.window is None:
                    brought = JobKey(key.text, key.until_started, key.latest)
                    job.constraints = msgspec.structs.replace(job.constraints or Constraints(), unique=brought)
                self.jobs.append(job)
            self.ids[own] = job.id
        for job in self.jobs:
            if job.constraints is not None:
                job.constraints.after = [self.ids.get(parent, parent) for parent in job.constraints.after]

    def confirm(self) -> None:
        """The jobs are stored. If this fails the entries are as good: their jobs are there."""
        for claim in self._claims.values():
            with contextlib.suppress(BrokerError):
                if claim.holder.replaces:
                    self._store.inspector.cancel(claim.holder.replaces)
                stored = Holder(claim.holder.id, claim.holder.at)
                self._store.kv.compare_and_set(NAMESPACE, _entry(claim.key, stored), old=claim.value)

    def _take(self, job: Job, key: UniqueKey) -> bool:
        """Whether the job is to be stored, by the id that it has now."""
        if key.text in self._claims:
            job.id = self._claims[key.text].holder.id
            return False
        while True:
            old = self._read(key)
            holder, state = self._holder(old)
            if holder is not None and old is not None:
                if (state is None and not holder.stored) or holder.id == job.id:
                    job.id = holder.id
                    self._claims[key.text] = _Claim(key, holder, old)
                    return True
                if _stands(key, state):
                    job.id = holder.id
                    return False
            mine = Holder(job.id, SYSTEM.now(), stored=False)
            if holder is not None and state in _STARTED:
                mine.replaces = [*holder.replaces, holder.id]
            entry = _entry(key, mine)
            if entry.value is not None and self._store.kv.compare_and_set(NAMESPACE, entry, old=old):
                self._claims[key.text] = _Claim(key, mine, entry.value)
                return True

    def _read(self, key: UniqueKey) -> bytes | None:
        """The entry. Where its job cannot be looked up, it is given time to be stored."""
        kv, until = self._store.kv, time.monotonic() + PATIENCE
        value = kv.read(NAMESPACE, [key.text])[0]
        while value is not None and self._blind:
            catch_up(kv, key.text)
            value = kv.read(NAMESPACE, [key.text])[0]
            holder = codec.decoded(value, Holder)
            if holder is None or holder.stored or time.monotonic() > until:
                break
            time.sleep(PAUSE)
        return value

    def _holder(self, value: bytes | None) -> tuple[Holder | None, State | None]:
        """The entry, and the state of its job; None where there is none, or it cannot be read."""
        if value is None:
            return None, None
        try:
            holder: Holder = codec.decode(value, Holder)
        except Undecodable:
            return None, None
        if self._blind:
            state = State.RUNNING if holder.started else State.READY
            return holder, state if holder.stored else None
        view = self._store.inspector.find([holder.id])[0]
        return holder, None if view is None else view.state


def _stands(key: UniqueKey, state: State | None) -> bool:
    """Whether a stored job in this state stands for the key; None: it is forgotten."""
    if key.window is not None:
        return True
    if key.latest and state in _STARTED:
        return False
    return state in (_STARTED if key.until_started else _ENDED)


def _entry(key: UniqueKey, holder: Holder) -> Entry:
    return entry_of(key.text, holder, KEPT if key.window is None else key.window)
