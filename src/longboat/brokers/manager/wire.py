"""What a call says and what it is answered: each verb's arguments and answer, as plain data of known types."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from longboat.contract.broker import Lease, Pulse, Settlement
from longboat.core.bounds import Count, Seconds
from longboat.core.codec import decoder
from longboat.core.job import Cancelled, Dead, Done, Job, Outcome, Park, Release, Result, Retry

A = TypeVar("A")

ROOM = 4_000_000
"""Bytes of payloads or results that one message carries, about: more go in several. Far below the limit of a frame."""


class Leased(msgspec.Struct, array_like=True, gc=False):
    """A lease, under the number that the server knows it by."""

    number: int
    job: Job
    attempt: int
    worker_deaths: int
    failures: int
    inputs: list[bytes] | None = None
    apart: int = 0
    """So many inputs, too large for a message with others, are to be asked for: see INPUTS."""

    def lease(self) -> Lease:
        return Lease(self.job, self.attempt, self.number, self.worker_deaths, self.failures, self.inputs or ())


class Received(msgspec.Struct, array_like=True):
    """What a slice of a receive brought."""

    leases: list[Leased]
    early: bool = False
    """It returned before its time with nothing: woken, or `extend` has something to tell."""
    gone: bool = False
    """The server does not know this consumer: it was started again, say."""


class Settled(msgspec.Struct, array_like=True, gc=False):
    """A settlement: which lease, the kind of the outcome, and the outcome, encoded."""

    number: int
    kind: int
    outcome: bytes


class Verb(Generic[A]):
    """A call that the server answers. Arguments and answer are encoded by themselves, so that each is decoded once."""

    def __init__(self, name: str, asked: Any, answered: Any) -> None:
        self.name = name
        self.asked = decoder(asked)
        self._answered = decoder(answered)
        VERBS[name] = self

    def answer(self, data: bytes) -> A:
        answer: A = self._answered.decode(data)
        return answer


class SessionVerb(Verb[A]):
    """A method of a session (sessions.py), after the session's id; `gone` is the answer if the server does not know it."""

    def __init__(self, name: str, asked: Any, answered: Any, gone: A) -> None:
        super().__init__(name, asked, answered)
        self.gone = gone


VERBS: dict[str, Verb[Any]] = {}
"""By name: these, and those of forwarded.py."""

encode = msgspec.msgpack.Encoder().encode

_Ids = list[str]
CAPABILITIES = Verb[_Ids]("capabilities", tuple[()], _Ids)
TIDY = Verb[float]("tidy", tuple[Seconds], float)
REGISTER = Verb[str]("register", tuple[_Ids, Seconds, _Ids, str], str)
WATCH = Verb[bool]("watch", tuple[str, _Ids], bool)
END = Verb[None]("end", tuple[str], None)
RECEIVE = SessionVerb("receive", tuple[str, int, Count, Seconds], Received, Received([], gone=True))
INPUTS = SessionVerb[list[bytes] | None]("inputs", tuple[str, int, int], list[bytes] | None, None)
SETTLE = SessionVerb[list[int] | None]("settle", tuple[str, list[Settled], list[int]], list[int] | None, None)
EXTEND = SessionVerb("extend", tuple[str], Pulse, Pulse(False))
PAUSE = SessionVerb("pause", tuple[str, _Ids, _Ids], None, None)
WAIT = SessionVerb[list[Result] | None]("wait", tuple[str, Seconds], list[Result] | None, None)
FORGET = SessionVerb("forget", tuple[str, _Ids], None, None)
WAKE = SessionVerb("wake", tuple[str], None, None)

_KINDS: dict[type[Outcome], int] = {Done: 0, Retry: 1, Dead: 2, Cancelled: 3, Release: 4, Park: 5}
_outcomes: dict[int, msgspec.msgpack.Decoder[Any]] = {number: decoder(kind) for kind, number in _KINDS.items()}


def settled(settlement: Settlement) -> Settled:
    return Settled(settlement.lease.token, _KINDS[type(settlement.outcome)], encode(settlement.outcome))


def outcome(said: Settled) -> Outcome:
    """Raises ValueError for a kind that is not known here, and for bytes that are not of this kind."""
    if said.kind not in _outcomes:
        raise ValueError(f"outcome {said.kind} is not known here")
    told: Outcome = _outcomes[said.kind].decode(said.outcome)
    return told
