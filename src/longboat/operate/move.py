"""Moving jobs from one broker to another, of whatever kind, while producers and workers go on.

Jobs go in batches, each in three steps: exported at the source, imported at the destination, confirmed at the source (see
contract/transfer.py). A batch's name says where it goes, and the destination recognises it by this name. So if a move is
killed, the next move to the same destination finishes it: it starts with what was exported and not confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.contract.transfer import ExportedJob
from longboat.core.job import DEFAULT_QUEUE, State
from longboat.core.views import JobView
from longboat.errors import ConfigError
from longboat.operate.batches import batches, resumed, unconfirmed

MOVED = (State.SCHEDULED, State.READY, State.WAITING, State.DEAD)
"""The states whose jobs move, in this order: a job that becomes ready meanwhile is met again."""

BATCH = 500
"""Jobs of one batch, at most: the workers of a file wait while a batch is exported."""

_ROUNDS = 3
"""How often the source is searched, at most: jobs may arrive as fast as they are moved."""

_LEASE = 10.0


class Moved(msgspec.Struct):
    """What a move did."""

    moved: int = 0
    """Jobs that are now at the destination and were not before, including those of a killed move."""
    resumed: int = 0
    """How many jobs of a killed move were finished."""
    known: int = 0
    """Jobs taken from the source whose ids the destination already knew: they were not added there."""
    late: int = 0
    """Of those resumed: exported longer ago than the destination is sure to remember its imports."""
    elsewhere: dict[str, int] = {}
    """Jobs in transfer from the source to other destinations: how many, by destination."""


def label(url: str) -> str:
    """The destination of a move, as recorded at the source: without a password."""
    parts = urlsplit(url)
    kept = urlencode([(key, value) for key, value in parse_qsl(parts.query) if key in ("schema", "prefix")])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?' if kept else ''}{kept}"


def movable(broker: Broker, queues: Collection[str] = ()) -> dict[State, int]:
    """How many jobs a move would find, by state; in all queues, or in these."""
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
    """Whether the broker can tell how many jobs it has; else they are counted one by one."""
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
    """What killed moves (or moves still going on) have exported from the source: how many jobs, by destination."""
    found: dict[str, int] = {}
    for name, to in unconfirmed(source):
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
    """Move all jobs in MOVED states, of all queues or of these; `to`: see `label`.

    `advance` is told how many more are done. After an error or a crash, the same call continues where it stopped. Raises
    ConfigError if both are the same store, and whatever the brokers raise.
    """
    refuse_same(source, destination)
    done = Moved()
    names: Sequence[str | None] = queues or [None]
    limits = Capability.LIMITS in destination.capabilities

    def deliver(name: str, jobs: Sequence[ExportedJob]) -> None:
        new = len(destination.transfer.import_jobs(name, jobs))
        source.transfer.confirm(name)
        done.moved += new
        done.known += len(jobs) - new
        advance(len(jobs))

    for name, where in unconfirmed(source):
        jobs, late = resumed(source, name) if where == to else ([], False)
        if jobs:
            done.resumed += len(jobs)
            done.late += len(jobs) if late else 0
            deliver(name, jobs)
    for _ in range(_ROUNDS):
        before = done.moved + done.known
        for state in MOVED:
            for queue in names:
                for ids in _listed(source, state, queue, limits=limits):
                    for name, jobs in batches(source, ids, to):
                        deliver(name, jobs)
        if done.moved + done.known == before:
            break
    done.elsewhere = {where: n for where, n in in_transfer(source).items() if where != to}
    return done


def refuse_same(source: Broker, destination: Broker) -> None:
    """Raises ConfigError if both are the same store; Unsupported for a broker that cannot take part."""
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
    """Ids of the jobs in this state, no more than there were at first: new ones may arrive as fast as they are moved.

    `limits`: include jobs that have limits or a fairness key.
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
