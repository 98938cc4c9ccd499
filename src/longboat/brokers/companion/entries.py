"""What the KV keeps of jobs: entries, and the keys they have.

m/{id}              PutRecord: the job as it was put; once it has ended, that its id is known
c/{id}              Claim: who holds it, or what became of it since the put
e/{id}              End: how it ended. Put if absent, so that one end holds
f/{id}              it has dependents, or it has ended without any
d/{parent}/{job}    an edge, looked up by the parent        w/{job}/{parent}   what the job still waits for
i/{job}/{parent}    the parent's result                     g/{job}/{n}, q/{job}/{n}   what is too large for one entry
h/{consumer}/{n}    ids claimed together                    p/{consumer}   ConsumerRecord, while its heartbeat lasts
a/{consumer}/{job}  the cancellation of a job it holds was requested     s/{consumer}/{job}   this job has started there
x/{time}/{job}      then the job expires, or has been parked for too long
t/{client}/{n}      the token of a put
b/{name}            an export batch                          u/{name}   what was imported under this name
y/{mark}/{n}        the jobs of an export batch, where they are too large for its entry
layout              the version of all this (layout.py)
"""

from __future__ import annotations

import hashlib
import math

import msgspec

from longboat.core.bounds import Amount, Count, Seconds
from longboat.core.constraints import Constraints
from longboat.core.job import Failure, State

HELD, BACK, OVER = range(3)
"""Kinds of claims: a consumer holds the job; it goes on by a message; no message of it counts any more."""


class PutRecord(msgspec.Struct, array_like=True):
    id: str
    queue: str
    message: bytes = b""
    pieces: int = 0
    """Of the message, where it is too large to stand here."""
    put: Seconds = 0.0
    """Wall-clock time, by the caller's clock."""
    due: Amount = 0.0
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
    attempts: Count = 0
    worker_deaths: Count = 0
    failures: bytes = b""
    at: Seconds = 0.0
    """When it was leased, or retried by an operator."""
    due: Amount = 0.0
    parked: Amount = 0.0
    why: bytes = b""
    """The failure it was parked with."""


class End(msgspec.Struct, array_like=True):
    id: str
    state: State
    by: str
    """Which lease ended it, so that a settle tried again recognises its own."""
    ended: Seconds
    keep: Seconds
    """Seconds that it can be seen; the entry stays longer where this is very short."""
    attempts: Count = 0
    failures: list[Failure] = []
    result: bytes | None = None
    result_pieces: int = 0
    started: Seconds | None = None
    queue: str = ""
    message: bytes = b""
    pieces: int = 0
    task: str = ""


class ConsumerRecord(msgspec.Struct, array_like=True):
    name: str
    queues: list[str]
    deadline: Seconds


class Edge(msgspec.Struct, array_like=True):
    job: str
    sole: bool
    """It waits for no other parent."""


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def key(kind: str, name: str) -> str:
    """Ids chosen by callers may be longer than a key."""
    return f"{kind}/{name}" if len(name) <= 250 else f"{kind}/#{hashed(name)}"


def pair(kind: str, first: str, second: str) -> str:
    return f"{kind}/{hashed(first)}/{hashed(second)}"


def children(kind: str, first: str) -> tuple[str, str]:
    """The keys between which all pairs of the first lie."""
    return f"{kind}/{hashed(first)}/", f"{kind}/{hashed(first)}0"


def timed(at: float, name: str) -> str:
    """In the order of time; keys smaller than that of a time are due then."""
    return f"x/{math.ceil(at * 1000):015d}/{hashed(name)}"


def parents_of(constraints: Constraints | None) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(constraints.after)) if constraints else []
