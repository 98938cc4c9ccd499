"""What a call says and what it is answered: each verb's arguments and answer, as plain data of known types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from longboat.contract.broker import Lease, Pulse, Settlement
from longboat.contract.kv import Entry
from longboat.contract.transfer import ExportedJob
from longboat.core.codec import decoder
from longboat.core.job import Cancelled, Dead, Done, Failure, Job, Outcome, Park, Release, Result, Retry, State
from longboat.core.views import ConsumerView, JobView, LimitView, Page

A = TypeVar("A")

ROOM = 16_000_000
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
    """A settlement: which lease, and the outcome with the fields that its kind has."""

    number: int
    kind: str
    value: bytes = b""
    delay: float = 0.0
    failure: Failure | None = None
    counted: bool = True


class EntryPage(msgspec.Struct, array_like=True):
    """Notes of the board, in order."""

    entries: list[tuple[str, bytes]]
    more: bool = False
    """There are others behind these, for which there was no room."""


class Verb(Generic[A]):
    """A method that the server publishes. Arguments and answer are encoded by themselves, so that each is decoded once."""

    def __init__(self, name: str, asked: Any, answered: Any) -> None:
        self.name = name
        self.asked = decoder(asked)
        self._answered = decoder(answered)

    def answer(self, data: bytes) -> A:
        answer: A = self._answered.decode(data)
        return answer


encode = msgspec.msgpack.Encoder().encode

_Ids = list[str]
PUT = Verb[_Ids]("put", tuple[list[Job], str, int], _Ids)
REGISTER = Verb[str]("register", tuple[_Ids, float, _Ids, str], str)
RECEIVE = Verb[Received]("receive", tuple[str, int, int, float], Received)
INPUTS = Verb["list[bytes] | None"]("inputs", tuple[str, int, int], list[bytes] | None)
SETTLE = Verb[list[int]]("settle", tuple[str, list[Settled], list[int]], list[int])
EXTEND = Verb[Pulse]("extend", tuple[str], Pulse)
PAUSE = Verb[None]("pause", tuple[str, _Ids, _Ids], None)
WAKE = Verb[None]("wake", tuple[str], None)
UNREGISTER = Verb[None]("unregister", tuple[str], None)
EVICT = Verb[int]("evict", tuple[str, Failure], int)
GET = Verb["list[Result | None]"]("get", tuple[_Ids], list[Result | None])
WATCH = Verb[bool]("watch", tuple[str, _Ids], bool)
FORGET = Verb[None]("forget", tuple[str, _Ids], None)
WAIT = Verb["list[Result] | None"]("wait", tuple[str, float], list[Result] | None)
WAKE_LISTENER = Verb[None]("wake_listener", tuple[str], None)
UNLISTEN = Verb[None]("unlisten", tuple[str], None)
COUNTS = Verb["list[tuple[str, State, int]]"]("counts", tuple[()], list[tuple[str, State, int]])
FIND = Verb["list[JobView | None]"]("find", tuple[_Ids], list[JobView | None])
JOBS = Verb[Page]("jobs", tuple[State, str | None, str | None, str | None, int], Page)
CONSUMERS = Verb[list[ConsumerView]]("consumers", tuple[()], list[ConsumerView])
CANCEL = Verb[_Ids]("cancel", tuple[_Ids], _Ids)
RETRY = Verb[_Ids]("retry", tuple[_Ids], _Ids)
PURGE = Verb[int]("purge", tuple[list[State], str | None, int], int)
PRUNE = Verb[int]("prune", tuple[int], int)
LIMITS = Verb["list[LimitView | None]"]("limits", tuple[_Ids], list[LimitView | None])
READ = Verb["list[bytes | None]"]("read", tuple[str, _Ids], list[bytes | None])
ENTRIES = Verb[EntryPage]("entries", tuple[str, str, str | None, int], EntryPage)
WRITE = Verb[None]("write", tuple[str, list[Entry]], None)
PUT_IF_ABSENT = Verb["list[bool]"]("put_if_absent", tuple[str, list[Entry]], list[bool])
COMPARE_AND_SET = Verb[bool]("compare_and_set", tuple[str, Entry, bytes | None], bool)
EXPORT = Verb[list[ExportedJob]]("export_jobs", tuple[str, _Ids], list[ExportedJob])
UNCONFIRMED = Verb[_Ids]("unconfirmed", tuple[()], _Ids)
IMPORT = Verb[_Ids]("import_jobs", tuple[str, list[ExportedJob]], _Ids)
CONFIRM = Verb[None]("confirm", tuple[str], None)
CAPABILITIES = Verb[_Ids]("capabilities", tuple[()], _Ids)
VERBS = {each.name: each for each in list(globals().values()) if isinstance(each, Verb)}


def settled(settlement: Settlement) -> Settled:
    number = settlement.lease.token
    match settlement.outcome:
        case Done(result):
            return Settled(number, "done", result)
        case Retry(delay, failure):
            return Settled(number, "retry", delay=delay, failure=failure)
        case Dead(failure, counted):
            return Settled(number, "dead", failure=failure, counted=counted)
        case Cancelled(failure):
            return Settled(number, "cancelled", failure=failure)
        case Release(delay):
            return Settled(number, "release", delay=delay)
        case Park(patience, failure):
            return Settled(number, "park", delay=patience, failure=failure)


def outcome(said: Settled) -> Outcome:
    """Raises ValueError for a kind that is not known here."""
    failure = said.failure or Failure("", "")
    match said.kind:
        case "done":
            return Done(said.value)
        case "retry":
            return Retry(said.delay, failure)
        case "dead":
            return Dead(failure, said.counted)
        case "cancelled":
            return Cancelled(failure)
        case "release":
            return Release(said.delay)
        case "park":
            return Park(said.delay, failure)
    raise ValueError(f"outcome {said.kind!r} is not known here")


def fitting(sizes: Sequence[int]) -> int:
    """How many of these, from the first on, go in one message: at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > ROOM and count:
            return count
    return len(sizes)
