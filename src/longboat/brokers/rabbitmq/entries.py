"""What the store beside the server keeps of jobs: notes, and the keys they hang under.

m/{id}              Entry: the job as it was put; once it has ended, that its id is known
c/{id}              Claim: who holds it, or what became of it since the put
e/{id}              End: how it ended. Added, so that one end holds
f/{id}              it has followers, or it has ended without
d/{parent}/{job}    an edge, looked up by the parent        w/{job}/{parent}   what the job waits for still
i/{job}/{parent}    the parent's result                     g/{job}/{n}, q/{job}/{n}   what is too large for a note
h/{consumer}/{n}    ids claimed together                    p/{consumer}   Presence, while its heart beats
a/{consumer}/{job}  the cancellation of what it holds was asked for
t/{client}/{n}      the token of a put
b/{name}            a batch of jobs on its way out           u/{name}   what came in under this name
y/{mark}/{n}        a batch's parcels, where they are too large for its note
"""

from __future__ import annotations

import hashlib
import math

import msgspec

from longboat.core.constraints import Constraints
from longboat.core.job import Failure, State

HELD, BACK, OVER = range(3)


class PutRecord(msgspec.Struct, array_like=True):
    id: str
    queue: str
    message: bytes = b""
    pieces: int = 0
    """Of the message, where it is too large to stand here."""
    put: float = 0.0
    """Wall-clock time, by the caller's clock."""
    due: float = 0.0
    waits: bool = False
    """For its parents."""
    sure: bool = False
    """It was published once more: no put does so again."""
    over: bool = False


class Claim(msgspec.Struct, array_like=True):
    """Messages carry the name of their copy. One that is not among `copies` is a second message of its job: dropped."""

    kind: int
    copies: list[str]
    holder: str = ""
    worker: str = ""
    attempts: int = 0
    worker_deaths: int = 0
    failures: bytes = b""
    at: float = 0.0
    """When it was leased."""
    due: float = 0.0
    parked: float = 0.0
    why: bytes = b""
    """The failure it was parked with."""


class End(msgspec.Struct, array_like=True):
    id: str
    state: State
    by: str
    """Which lease ended it, so that a settle tried again knows its own."""
    ended: float
    keep: float
    """Seconds that it may be seen; the note stays for longer where this is very short."""
    attempts: int = 0
    failures: list[Failure] = []
    result: bytes | None = None
    result_pieces: int = 0
    started: float | None = None
    queue: str = ""
    message: bytes = b""
    pieces: int = 0
    task: str = ""


class WorkerPresence(msgspec.Struct, array_like=True):
    name: str
    queues: list[str]
    deadline: float


class Edge(msgspec.Struct, array_like=True):
    job: str
    sole: bool
    """It waits for no other parent."""


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def key(kind: str, name: str) -> str:
    """Ids of callers may be longer than a key."""
    return f"{kind}/{name}" if len(name) <= 250 else f"{kind}/#{hashed(name)}"


def pair(kind: str, first: str, second: str) -> str:
    return f"{kind}/{hashed(first)}/{hashed(second)}"


def children(kind: str, first: str) -> tuple[str, str]:
    """The keys between which all pairs of the first lie."""
    return f"{kind}/{hashed(first)}/", f"{kind}/{hashed(first)}0"


def timed(at: float, name: str) -> str:
    """In the order of time; keys smaller than that of a time are due then."""
    return f"x/{math.ceil(at * 1000):015d}/{hashed(name)}"


def dependency_edges(constraints: Constraints | None) -> list[str]:
    """The parents, each once."""
    return list(dict.fromkeys(constraints.after)) if constraints else []
