"""Clauses about stored messages that cannot be decoded, and jobs that would become such messages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from longboat.contract.broker import Consumer
from longboat.contract.capabilities import Capability
from longboat.core.codec import encode_job
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Job, State
from longboat.core.reasons import UNDECODABLE
from longboat.core.views import JobView
from longboat.errors import ConfigError, TooLarge
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import Stage, eventually, ids, job, nothing, same, take_all


@clause(needs={Capability.DEAD_JOBS})
def undecodable_bytes_become_dead(on: Stage) -> None:
    """Bytes that are not a message end as a dead job, with those bytes as payload and a Failure that says so."""
    for raw in (b"", b"\xc1garbage\0\xff", b"\x91\x01", b"\x80"):
        on.inject(raw, "q")
        consumer = on.consumer()

        dead = _newest(on, consumer, raw)
        same([failure.type for failure in dead.failures], [UNDECODABLE], "its failures")
        same(dead.queue, "q", "its queue")


def _newest(on: Stage, consumer: Consumer, raw: bytes) -> JobView:
    """The newest dead job, once it is this one: another consumer may have been given it first, and hands it on."""

    def found() -> list[JobView]:
        nothing(consumer, why=f"{raw!r} was received")
        return [view for view in on.broker.inspector.jobs(State.DEAD).jobs[:1] if view.payload == raw]

    eventually(lambda: bool(found()), f"{raw!r} is the payload of the newest dead job")
    return found()[0]


@clause(needs={Capability.DEAD_JOBS})
def a_message_of_another_version_becomes_dead(on: Stage) -> None:
    """A message of an unknown version is kept like other undecodable bytes."""
    future = job()
    future.v = 99
    raw = encode_job(future)
    on.inject(raw, "q")
    nothing(on.consumer())
    same([view.payload for view in on.broker.inspector.jobs(State.DEAD).jobs], [raw], "payloads of the dead")


@clause(needs={Capability.DEAD_JOBS, Capability.QUEUE_LENGTHS})
def neighbours_of_bad_input_are_received(on: Stage) -> None:
    """Jobs before and after undecodable bytes are received as if those were not there."""
    before, behind = job(), job()
    on.put(before)
    for n in range(5):
        on.inject(b"\xc1" + bytes([n]), "q")
    on.put(behind)
    same(ids(take_all(on.consumer(), 2)), ids([before, behind]), "jobs received")
    key = ("q", State.DEAD)
    consumer = on.consumer()
    eventually(lambda: not consumer.receive(1, wait=0.0) and on.broker.inspector.counts().get(key) == 5, "five are dead")


def _too_much() -> Iterator[Job]:
    """Jobs that no store and no worker can do anything with; each is wrong in one way."""
    for number in (math.nan, math.inf, -1.0, 1e300):
        yield job(keep=number)
        yield job(delay=number)
        yield job(expires=number)
        yield job(constraints=Constraints(limits=[JobLimit("a", starts=1, per=number)]))
    yield job(priority=2**40)
    for long in ("x" * 500_000, "\N{SNOWMAN}" * 256):
        yield job(task=long)
        yield job(id=long)
        yield job(queue=long)
        yield job(constraints=Constraints(fairness_key=long))
        yield job(constraints=Constraints(limits=[JobLimit(long, running=1)]))
    yield job(constraints=Constraints(limits=[JobLimit("a", running=2**63)]))
    yield job(constraints=Constraints(limits=[JobLimit("a", running=-1)]))
    deep: Any = 0
    for _ in range(500):
        deep = [deep]
    nowhere: list[Any] = [5, -1, True, None, "a", ["a"], [None], [0, [[9]]], deep]
    for slots in nowhere:
        wrong = Constraints(after=["a"], into={"x": 0})
        wrong.into["x"] = slots
        yield job(constraints=wrong)


@clause
def what_could_not_be_run_is_refused_at_the_put(on: Stage) -> None:
    """A job with a number, a name or constraints that no worker could use raises ConfigError, and nothing is stored."""
    for wrong in _too_much():
        try:
            on.put(job(), wrong)
        except ConfigError:
            continue
        raise AssertionError(f"{wrong!r:.200} was stored")
    try:
        on.put(job(payload=b"x" * 1_000_001))
    except TooLarge:
        pass
    else:
        raise AssertionError("arguments of over 1,000,000 bytes were stored")
    nothing(on.consumer(), why="a neighbour of what was refused was stored")
    same(len(on.put(job())), 1, "jobs stored afterwards")


@clause(needs={Capability.DEAD_JOBS})
def what_could_not_be_run_becomes_dead(on: Stage) -> None:
    """The same where it is found stored, as another program would: dead like other undecodable bytes, beside good jobs."""
    good = job()
    on.put(good)
    raws = {msgspec.msgpack.encode(wrong) for wrong in _too_much()} | {msgspec.msgpack.encode(job(payload=b"x" * 1_000_001))}
    for raw in raws:
        on.inject(raw, "q")
    consumer = on.consumer()
    same(ids(take_all(consumer, 1)), ids([good]), "jobs received")
    eventually(lambda: not consumer.receive(9, wait=0.0) and _dead(on) == raws, "all others are dead, with their bytes")


def _dead(on: Stage) -> set[bytes]:
    return {view.payload for view in on.broker.inspector.jobs(State.DEAD).jobs}
