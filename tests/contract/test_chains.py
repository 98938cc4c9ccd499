"""Chains in messages: each job comes once, with the result of the one before, and never twice to the same process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longboat.contract import chains
from longboat.contract.broker import Settlement
from longboat.contract.carried import Alone, CarriedConsumer
from longboat.contract.carrier import Envelope, Message
from longboat.contract.chains import Chain, Succeeded, chained
from longboat.contract.messages import gather, message_of, next_messages
from longboat.core.clock import SYSTEM
from longboat.core.codec import encode_job
from longboat.core.constraints import Constraints
from longboat.core.job import MESSAGE_VERSION, Dead, Done, Failure, Job, Retry
from longboat.errors import Undecodable, Unsupported
from tests.rigs.carrier import MemoryCarrier

BOOM = Failure("builtins.ValueError", "boom")


def jobs(parents: list[int | None]) -> dict[str, Job]:
    made = {}
    for place, parent in enumerate(parents):
        constraints = None if parent is None else Constraints(after=[f"j{parent}"])
        made[f"j{place}"] = Job(MESSAGE_VERSION, f"j{place}", "t", b"\x80", "q", constraints=constraints)
    return made


def messages(parents: list[int | None]) -> list[Message]:
    """Those of the first jobs."""
    made = jobs(parents)
    bodies = {name: encode_job(job) for name, job in made.items()}
    encoded = chained(made, bodies, Chain("put", 0.0, "mailbox", []), Unsupported)
    firsts = [job for job in made.values() if job.constraints is None]
    return [message_of(job, bodies[job.id], Envelope(chain=encoded.get(job.id, b""))) for job in firsts]


@st.composite
def forests(draw: st.DrawFn) -> list[int | None]:
    parents: list[int | None] = [None]
    for place in range(1, draw(st.integers(1, 20))):
        parents.append(draw(st.none() | st.integers(0, place - 1)))
    return parents


@given(forests())
def test_each_job_comes_once_after_the_one_before(parents: list[int | None]) -> None:
    came: list[str] = []
    left = messages(parents)
    while left:
        message = left.pop()
        came.append(message.id)
        parent = parents[int(message.id[1:])]
        if message.envelope.chain:
            chain = chains.decode(message.envelope.chain)
            assert chain.result == (None if parent is None else f"j{parent}".encode())
            left += next_messages(chain, message.id.encode())
        assert parent is None or f"j{parent}" in came
    assert sorted(came) == sorted(jobs(parents))


def test_a_chain_of_a_thousand_goes_on() -> None:
    (message,) = messages([None, *range(999)])
    for _ in range(999):
        (message,) = next_messages(chains.decode(message.envelope.chain), b"\xc0")
    assert message.id == "j999"


@pytest.mark.parametrize("steps", [[[3, b"", True]], [[0, b"", True]], [["x", b"", True]]])
def test_a_broken_chain_is_undecodable(steps: Any) -> None:
    with pytest.raises(Undecodable, match="what comes after it cannot be read"):
        chains.decode(msgspec.msgpack.encode(["put", 0.0, "", steps]))


@pytest.fixture
def carrier() -> Iterator[MemoryCarrier]:
    made = MemoryCarrier()
    yield made
    made.close()


def consumer(carrier: MemoryCarrier, succeeded: Succeeded) -> CarriedConsumer:
    receiver = carrier.receiver(["q"], lease=60.0)
    return CarriedConsumer(receiver, carrier.send, frozenset(), SYSTEM, Alone(carrier.tell, succeeded))


def test_a_second_message_of_a_job_in_a_chain_is_dropped(carrier: MemoryCarrier) -> None:
    (first,) = messages([None, 0])
    succeeded = Succeeded()
    one = consumer(carrier, succeeded)
    carrier.send([first, first])
    (lease,) = one.receive(2, wait=0.0)
    assert one.receive(2, wait=0.0) == []
    assert one.settle([Settlement(lease, Retry(0.0, BOOM))]) == []
    (lease,) = one.receive(2, wait=0.0)
    assert lease.attempt == 2, "what is tried again is no second message"
    assert one.settle([Settlement(lease, Done(b"\x01"))]) == []
    carrier.send([first])
    other = consumer(carrier, succeeded)
    (lease,) = other.receive(2, wait=0.0)
    assert (lease.job.id, list(lease.inputs)) == ("j1", [b"\x01"])
    assert other.settle([Settlement(lease, Dead(BOOM))]) == []
    assert other.receive(2, wait=0.0) == []


def test_many_jobs_after_one_with_a_large_result_leave_in_pieces() -> None:
    messages: list[Message] = []
    sent: list[int] = []
    large = (Message(str(n), "q", 0, b"", Envelope(chain=bytes(1_000_000))) for n in range(40))
    gather(large, messages, lambda piece: sent.append(len(piece)))
    assert [*sent, len(messages)] == [17, 17, 6]
