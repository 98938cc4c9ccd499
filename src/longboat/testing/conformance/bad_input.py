"""Clauses about stored messages that cannot be decoded."""

from __future__ import annotations

from longboat.contract.broker import Consumer
from longboat.contract.capabilities import Capability
from longboat.core.codec import encode_job
from longboat.core.job import State
from longboat.core.reasons import UNDECODABLE
from longboat.core.views import JobView
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
