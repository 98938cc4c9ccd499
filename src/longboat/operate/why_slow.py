"""Why a queue is slow, in one sentence: what holds its jobs, who serves it, how fast it fills and empties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.text import counted
from longboat.core.views import JobView
from longboat.errors import Unsupported
from longboat.observe.drain import Drain
from longboat.observe.history import WorkerRecord, workers
from longboat.observe.numbers import Numbers
from longboat.observe.words import rate, span
from longboat.operate import held
from longboat.operate.explain import serving
from longboat.operate.held import Held
from longboat.operate.pauses import nothing, paused

LOOKED_AT = 100
"""Waiting jobs whose causes are looked up, at most: the oldest."""
TOLD = 3
"""Causes that are told of, at most."""


class QueueNow(msgspec.Struct):
    """A queue as it is now."""

    queue: str
    why: str
    """All of it, in one sentence."""
    drain: Drain
    oldest: float | None
    """Since when the oldest job waits that is ready or held; None: there is none, or it is not known."""
    workers: int | None
    """Living workers that serve it. None: not known."""

    def data(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "queue": self.queue,
            "why": self.why,
            "oldest": self.oldest,
            "workers": self.workers,
            **self.drain.data(),
        }


class _Seen(msgspec.Struct):
    """What was looked up of a queue."""

    stopped: str
    states: list[str] | None
    """Of the workers that serve it; None: not known."""
    full: list[str]
    """Sentences: which slots of these workers are all in use."""
    held: list[Held]
    whole: bool | None
    """Whether all that wait were looked at; None: they cannot be listed."""
    oldest: float | None


def why_slow(broker: Broker, queue: str, found: Numbers, drain: Drain, there: str = "") -> QueueNow:
    """The queue as it is now. Costs a few lookups, however many jobs there are.

    `found` and `drain`: how many jobs there are, and the queue's rates. `there`: where, as in " at redis://…", for whoever
    may have meant another broker.
    """
    seen = _look(broker, queue, found)
    drain = replace(drain, stopped=stopped(seen.stopped != "", seen.states != []))
    told = [part for part in _sentence(queue, found, drain, seen, there) if part]
    return QueueNow(queue, "; ".join(told), drain, seen.oldest, None if seen.states is None else len(seen.states))


def stopped(paused: bool, served: bool) -> str:
    """Why no job of a queue can start; empty if jobs can."""
    return "it is paused" if paused else "" if served else "no worker serves it"


def stop(broker: Broker, drains: Mapping[str, Drain]) -> dict[str, Drain]:
    """These queues, those marked of which no job can start."""
    if Capability.KV not in broker.capabilities:
        return dict(drains)
    taken = [each.queues for each in workers(broker.kv)]
    if Capability.CONSUMERS in broker.capabilities:
        taken += [each.queues for each in broker.inspector.consumers()]
    names, every = {name for queues in taken for name in queues}, not all(taken)
    still = paused(broker.kv)["queue"]
    return {queue: replace(each, stopped=stopped(queue in still, every or queue in names)) for queue, each in drains.items()}


def _look(broker: Broker, queue: str, found: Numbers) -> _Seen:
    seen = _Seen("", None, [], [], None, None)
    still = nothing()
    if Capability.CONSUMERS in broker.capabilities:
        seen.states = ["working" for each in broker.inspector.consumers() if not each.queues or queue in each.queues]
    if Capability.KV in broker.capabilities:
        records = [each for each in workers(broker.kv) if not each.queues or queue in each.queues]
        seen.states, seen.full = max([each.state for each in records], seen.states or [], key=len), full(records)
        still = paused(broker.kv)
        seen.stopped = f"queue {queue} is paused" if queue in still["queue"] else ""
    first: list[JobView] = []
    try:
        if found.of(queue, State.READY):
            first += broker.inspector.jobs(State.READY, queue=queue, limit=1).jobs
        page = broker.inspector.jobs(State.WAITING, queue=queue, limit=LOOKED_AT)
        first += page.jobs[:1]
        seen.held, seen.whole = held.groups(broker, page.jobs, still), page.after is None
    except Unsupported:
        pass
    seen.oldest = min((since for job in first if (since := job.waits_since) is not None), default=None)
    return seen


def named(broker: Broker) -> set[str]:
    """The queues that living workers name, and those that are paused."""
    if Capability.KV not in broker.capabilities:
        return set()
    return {queue for each in workers(broker.kv) for queue in each.queues} | paused(broker.kv)["queue"]


def full(records: Sequence[WorkerRecord]) -> list[str]:
    """Which kinds of slots are in use in all of these workers."""
    slots, in_use = Counter[str](), Counter[str]()
    for each in records:
        slots.update(each.slots)
        in_use.update(each.in_use)
    return [f"all {number:,} {name} slots are in use" for name, number in slots.items() if 0 < number <= in_use[name]]


def _sentence(queue: str, found: Numbers, drain: Drain, seen: _Seen, there: str) -> Iterator[str]:
    yield seen.stopped
    if seen.states == []:
        yield f"no living worker serves queue {queue}{there}"
    for group in seen.held[:TOLD]:
        yield group.why if seen.whole or group.limit else f"of the oldest {LOOKED_AT} waiting jobs {group.why}"
    if len(seen.held) > TOLD:
        yield counted(len(seen.held) - TOLD, "more cause")
    ready, waiting, running = (found.of(queue, state) for state in (State.READY, State.WAITING, State.RUNNING))
    told = ((ready, "ready"), (waiting, "held"), (running, "running"))
    yield ", ".join(f"{number:,} {word}" for number, word in told if number is not None)
    if waiting is None:
        yield "whether limits or other jobs hold any is not known with this broker"
    if seen.oldest is not None:
        yield f"the oldest has waited {span(SYSTEM.now() - seen.oldest)}"
    if seen.states:
        yield f"{serving(seen.states)} {'serves' if len(seen.states) == 1 else 'serve'} it"
    if drain.queued:
        yield from seen.full
    if drain.coming is not None and drain.ending is not None:
        yield f"in {rate(drain.coming)}, out {rate(drain.ending)}"
    yield drain.outlook
