"""Chains in messages: jobs after exactly one other of the same put travel in its message, until that one has succeeded.

Then whoever settles it sends each of them on, with its result and with what comes after them, and acknowledges last. If it
dies in between, the job comes back and runs again, and a second message of the next one is sent: `Succeeded` knows it where
the same process ran the first. For want of a KV, where the companion keeps all dependencies.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from longboat.core.bounds import MESSAGE_LIMIT, Name, Seconds, Value
from longboat.core.codec import DECODE_ERRORS, decode_job
from longboat.core.job import Job
from longboat.core.text import counted
from longboat.core.views import job_or_none
from longboat.errors import TooLarge, Undecodable, Unsupported

ROOM = MESSAGE_LIMIT
"""Bytes of all that comes after one job, encoded, at most."""
REMEMBERED = 10_000
"""Jobs of chains that a process remembers to have succeeded, the newest."""


class Step(msgspec.Struct, array_like=True, gc=False):
    """A job that comes after another."""

    after: int
    """Which one, by its place among the steps; FIRST: the job in whose message they are."""
    body: bytes
    """Encoded, as it is sent."""
    replied: bool
    """Whether the mailbox is told how it ended."""


FIRST = -1


class Chain(msgspec.Struct, array_like=True):
    """What travels with a job that is part of a chain."""

    put: Name
    """Names the put that it came with: an id may be used again."""
    at: Seconds
    """Wall-clock time of that put by the caller's clock, from which expiries count."""
    reply: str
    """The mailbox of who put them; "": nobody is told."""
    steps: list[Step]
    """What comes after the job, each step behind the one that it comes after."""
    result: Value | None = None
    """Of the job that it came after; None: it is the first."""

    def key(self, job_id: str) -> tuple[str, str]:
        """Names a job of it, whichever of its messages this is."""
        return self.put, job_id

    def inputs(self, job: Job) -> list[bytes]:
        """The result of the job that this one came after, as often as it names that."""
        return [] if self.result is None or job.constraints is None else [self.result] * len(job.constraints.after)

    def waiting(self) -> list[str]:
        """The ids of all that come after the job, and whose ends somebody is told."""
        return [job.id for step in self.steps if step.replied and (job := job_or_none(step.body))]


_chain = msgspec.msgpack.Decoder(Chain)


def encode(chain: Chain) -> bytes:
    return msgspec.msgpack.encode(chain)


def decode(data: bytes) -> Chain:
    """Raises Undecodable."""
    try:
        chain = _chain.decode(data)
    except DECODE_ERRORS as error:
        raise Undecodable(f"what comes after it cannot be read: {error}") from None
    for place, step in enumerate(chain.steps):
        if not FIRST <= step.after < place:
            raise Undecodable(f"what comes after it cannot be read: step {place} comes after step {step.after}")
    return chain


def chained(
    jobs: Mapping[str, Job], bodies: Mapping[str, bytes], chain: Chain, unsupported: Callable[[str], Unsupported]
) -> dict[str, bytes]:
    """By the first job of each chain, what travels with it; the others are not to be sent. `chain` says what they share.

    Raises TooLarge; and Unsupported, made of what cannot be done, for a job after several others, or after one that does not
    stand before it.
    """
    places: dict[str, tuple[str, int]] = {}
    """By job: the first of its chain, and its place among the steps of that."""
    steps: dict[str, list[Step]] = {}
    for job in jobs.values():
        parents = set(job.constraints.after) if job.constraints else ()
        if not parents:
            places[job.id] = job.id, FIRST
            continue
        if len(parents) > 1:
            raise unsupported("run a job after several others, such as the task after a group (a chord)")
        (parent,) = parents
        if parent not in places:
            raise unsupported(f"run a job after one that is not enqueued with it ({job.id} after {parent})")
        first, after = places[parent]
        others = steps.setdefault(first, [])
        places[job.id] = first, len(others)
        others.append(Step(after, bodies[job.id], job.keep > 0))
    encoded = {}
    for first, some in steps.items():
        encoded[first] = encode(msgspec.structs.replace(chain, steps=some))
        if len(encoded[first]) > ROOM:
            raise TooLarge(
                f"task {jobs[first].task!r:.300}: its message would bring {counted(len(some), 'job')} after it, "
                f"{len(encoded[first]):,} bytes, the limit is {ROOM:,}. Put big data in a file or a store and pass its path."
            )
    return encoded


def chain_or_none(data: bytes) -> Chain | None:
    """None where there is none, or it cannot be read."""
    try:
        return decode(data) if data else None
    except Undecodable:
        return None


class Next(msgspec.Struct):
    """A job whose turn has come."""

    job: Job
    body: bytes
    replied: bool
    chain: Chain
    """What travels with it."""


def after(chain: Chain, result: bytes) -> Iterator[Next]:
    """What comes right after the job, which has succeeded with this result."""
    parts: dict[int, list[Step]] = {}
    """By each job right after it, what comes after that."""
    places: list[tuple[int, int]] = []
    """Of each step: whose part it is in, and at which place."""
    for place, step in enumerate(chain.steps):
        if step.after == FIRST:
            parts[place] = []
            places.append((place, FIRST))
        else:
            owner, before = places[step.after]
            places.append((owner, len(parts[owner])))
            parts[owner].append(Step(before, step.body, step.replied))
    for place, part in parts.items():
        step = chain.steps[place]
        own = msgspec.structs.replace(chain, steps=part, result=result)
        yield Next(decode_job(step.body), step.body, step.replied, own)


class Succeeded:
    """The jobs of chains that have succeeded in this process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, keys: Iterable[tuple[str, str]]) -> None:
        with self._lock:
            self._keys.update(dict.fromkeys(keys))
            while len(self._keys) > REMEMBERED:
                self._keys.popitem(last=False)

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._keys
