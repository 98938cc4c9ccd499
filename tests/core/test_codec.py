"""Messages: their bytes are a promise to other versions, and no other bytes do harm."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longboat.core import codec
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Failure, Job
from longboat.errors import ConfigError, Undecodable

JOB = Job(1, "00065f0000000000-0123456789abcdef", "mail.send", b"\x80", "slow", -3, 1.5, 60.0, 0.0, 1700000000.0, {"a": "b"})
GOLDEN = bytes.fromhex(
    "9c01d921303030363566303030303030303030302d30313233343536373839616263646566a96d61696c2e73656e64c40180a4736c6f77fdcb"
    "3ff8000000000000cb404e000000000000cb0000000000000000cb41d954fc4000000081a161a162c0"
)


def test_version_1_is_written_and_read() -> None:
    assert codec.encode_job(JOB) == GOLDEN
    assert codec.decode_job(GOLDEN) == JOB


def test_fields_that_a_later_version_adds_are_left_out() -> None:
    longer = b"\x9d" + GOLDEN[1:] + b"\xa3new"
    assert codec.decode_job(longer) == JOB


def test_messages_from_before_there_were_constraints() -> None:
    assert codec.decode_job(b"\x9b" + GOLDEN[1:-1]) == JOB


def test_constraints_are_part_of_the_message() -> None:
    constrained = msgspec.structs.replace(
        JOB, constraints=Constraints("f", ["a"], [JobLimit("k", 1, 2, 3.0)], "t", {"x": [0, [0]]})
    )
    assert codec.decode_job(codec.encode_job(constrained)) == constrained


def test_an_unknown_version_is_named() -> None:
    with pytest.raises(Undecodable, match="version 2"):
        codec.decode_job(GOLDEN[:1] + b"\x02" + GOLDEN[2:])


def test_truncated_at_each_byte() -> None:
    for length in range(len(GOLDEN)):
        with pytest.raises(Undecodable):
            codec.decode_job(GOLDEN[:length])


@given(st.integers(0, len(GOLDEN) * 8 - 1))
def test_a_flipped_bit_is_another_job_or_none(bit: int) -> None:
    data = bytearray(GOLDEN)
    data[bit // 8] ^= 1 << bit % 8
    try:
        assert isinstance(codec.decode_job(bytes(data)), Job)
    except Undecodable:
        return


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert isinstance(codec.decode_failures(data), list)
    for kind in (int, list[str], Failure):
        try:
            codec.decode(data, kind)
        except Undecodable:
            continue


def test_depth_is_no_crash() -> None:
    with pytest.raises(Undecodable):
        codec.decode(b"\x91" * 100_000 + b"\x01")


def test_a_refusal_names_the_job_the_task_and_the_field() -> None:
    with pytest.raises(
        ConfigError, match=r"job '[^']+' of task '[^']+' cannot be stored: Expected `float` >= 0.0 - at `keep`"
    ):
        codec.encode_job(msgspec.structs.replace(JOB, keep=float("nan")))
    with pytest.raises(ConfigError, match=r"length <= 255 - at `constraints\[3\]"):
        codec.encode_job(msgspec.structs.replace(JOB, constraints=Constraints(fairness_key="x" * 256)))
    with pytest.raises(ConfigError, match="surrogates not allowed"):
        codec.encode_job(msgspec.structs.replace(JOB, queue="\ud800"))
    with pytest.raises(ConfigError, match=r"into: 'x' is filled from 2, which is none of the 2 places"):
        Constraints(after=["a", "b"], into={"x": [2]})
