"""Moving jobs from one broker into another, whatever the two are, while producers and workers go on.

Jobs go in batches, each in three steps: exported at the source, imported at the destination, confirmed at the source (see
contract/transfer.py). A batch's name says where it goes, and the destination knows it again by this name. So when a move
was killed, the next move to the same destination finishes it: it starts with what was exported and not confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from longboat.contract.broker import FORGOTTEN_AFTER, Broker
from longboat.contract.capabilities import Capability
from longboat.contract.transfer import ExportedJob
from longboat.core.clock import SYSTEM
from longboat.core.job import DEFAULT_QUEUE, State, new_id, order_of
from longboat.core.views import JobView
from longboat.errors import BrokerError, ConfigError

MOVED = (State.SCHEDULED, State.READY, State.WAITING, State.DEAD)
"""The states whose jobs move, in this order: what becomes ready meanwhile is met again."""

BATCH = 500
"""Jobs of one batch, at most: workers of a file wait while one is packed."""

_ROUNDS = 3
"""How often the source is looked through, at most: jobs may come as fast as they are moved."""

_LEASE = 10.0


class Moved(msgspec.Struct):
    """What a move did."""

    moved: int = 0
    """Jobs that are at the destination now and were not before, those of a killed move included."""
    resumed: int = 0
    """How many of a killed move's were taken up."""
    known: int = 0
    """Jobs taken from the source whose ids the destination knew: nothing came of them there."""
    late: int = 0
    """Of those resumed: packed longer ago than the destination is sure to remember what it has had."""
    elsewhere: dict[str, int] = {}
    """What is packed at the source for other destinations: how many jobs by where they go."""


def label(url: str) -> str:
    """Where a move goes, as it is written down at the source: never a password."""
    parts = urlsplit(url)
    kept = urlencode([(key, value) for key, value in parse_qsl(parts.query) if key in ("schema", "prefix")])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?' if kept else ''}{kept}"


def movable(broker: Broker, queues: Collection[str] = ()) -> dict[State, int]:
    """How many jobs a move would find, by state; of all queues, or of these."""
    if _counts(broker):
        counts = broker.inspector.counts()
        found = {
            state: sum(n for (q, its), n in counts.items() if its is state and (not queues or q in queues))
            for state in MOVED
        }
    else:
        names: Sequence[str | None] = list(queues) or [None]
        found = {state: sum(len(page) for name in names for page in _pages(broker, state, name)) for state in MOVED}
    return {state: n for state, n in found.items() if n}


def _counts(broker: Broker) -> bool:
    """Whether it can tell how many jobs it has; else they are looked at one by one."""
    return Capability.EXACT_COUNTS in broker.capabilities


def _pages(broker: Broker, state: State, queue: str | None) -> Iterator[list[JobView]]:
    after: str | None = None
    while True:
        page = broker.inspector.jobs(state, queue=queue, after=after, limit=BATCH)
        yield page.jobs
        after = page.after
        if after is None:
            return


def in_transfer(source: Broker) -> dict[str, int]:
    """What killed moves (or those that go on now) have packed at the source: how many jobs by where they go."""
    found: dict[str, int] = {}
    for name in source.transfer.unconfirmed():
        to = name.partition(" ")[2]
        found[to] = found.get(to, 0) + len(source.transfer.export_jobs(name, []))
    return found


def move(
    source: Broker,
    destination: Broker,
    to: str,
    *,
    queues: Sequence[str] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> Moved:
    """Move all jobs that are not leased and have not ended, and the dead, of all queues or of these; `to`: see `label`.

    `advance` is told how many more are done. After an error, or a crash, the same call goes on where it stopped. Raises
    ConfigError if both are one store, and what the brokers raise.
    """
    refuse_same(source, destination)
    done = Moved()
    names: Sequence[str | None] = queues or [None]
    limits = Capability.LIMITS in destination.capabilities
    _resume(source, destination, to, done, advance)
    for _ in range(_ROUNDS):
        before = done.moved + done.known
        for state in MOVED:
            for queue in names:
                for ids in _listed(source, state, queue, limits=limits):
                    _send(source, destination, to, ids, done, advance)
        if done.moved + done.known == before:
            break
    done.elsewhere = {where: n for where, n in in_transfer(source).items() if where != to}
    return done


def refuse_same(source: Broker, destination: Broker) -> None:
    """Raises ConfigError if what is done to one is seen in the other; Unsupported for a broker that cannot take part."""
    for each in (source, destination):
        each.transfer.unconfirmed()
    consumer = source.consumer([DEFAULT_QUEUE], lease=_LEASE, name="longboat move")
    try:
        same = any(each.id == consumer.id for each in destination.inspector.consumers())
    finally:
        consumer.close()
    if same:
        raise ConfigError("the source and the destination are the same store")


def _listed(source: Broker, state: State, queue: str | None, *, limits: bool) -> Iterator[list[str]]:
    """Ids of the jobs in this state, no more than there were at first: new ones may come as fast as they are moved.

    `limits`: also of jobs that have limits or turns.
    """
    left = math.inf
    if _counts(source):
        counts = source.inspector.counts()
        left = sum(n for (name, its), n in counts.items() if its is state and queue in (None, name))
    if left:
        for page in _pages(source, state, queue):
            if ids := [
                job.id
                for job in page
                if limits or not (job.constraints and (job.constraints.limits or job.constraints.fairness_key))
            ]:
                yield ids
            left -= len(page)
            if left <= 0:
                return


def _send(
    source: Broker, destination: Broker, to: str, ids: Sequence[str], done: Moved, advance: Callable[[int], None]
) -> None:
    left = list(ids)
    while left:
        name = f"{new_id()} {to}"
        exported_jobs = source.transfer.export_jobs(name, left)
        if not exported_jobs:
            return
        _deliver(source, destination, name, exported_jobs, done, advance)
        left = left[left.index(exported_jobs[-1].id) + 1 :]  # there may have been more than go in one batch


def _deliver(
    source: Broker,
    destination: Broker,
    name: str,
    exported_jobs: Sequence[ExportedJob],
    done: Moved,
    advance: Callable[[int], None],
) -> None:
    new = len(destination.transfer.import_jobs(name, exported_jobs))
    source.transfer.confirm(name)
    done.moved += new
    done.known += len(exported_jobs) - new
    advance(len(exported_jobs))


def _resume(source: Broker, destination: Broker, to: str, done: Moved, advance: Callable[[int], None]) -> None:
    for name in source.transfer.unconfirmed():
        job_id, _, where = name.partition(" ")
        if where != to:
            continue
        exported_jobs = source.transfer.export_jobs(name, [])  # none: a move that goes on beside this one has delivered them
        began = order_of(job_id)
        if began is None:
            raise BrokerError(f"{name!r} was not packed by a move of Longboat")
        age = max(0.0, SYSTEM.now() - (began >> 12) / 1e6)
        for exported in exported_jobs:
            exported.delay = max(0.0, exported.delay - age)
            exported.expires = None if exported.expires is None else exported.expires - age
        done.resumed += len(exported_jobs)
        done.late += len(exported_jobs) if age > FORGOTTEN_AFTER else 0
        if exported_jobs:
            _deliver(source, destination, name, exported_jobs, done, advance)
