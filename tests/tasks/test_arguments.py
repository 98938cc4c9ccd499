"""Arguments: bound, checked and converted where a job is enqueued, and again where it runs."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longboat.errors import BadArguments, Undecodable
from longboat.tasks.arguments import EMPTY, Arguments, Misfit, UnknownArguments


@dataclass
class Point:
    x: int
    y: int = 0


class Shape(msgspec.Struct):
    corners: list[Point]


class Model(pydantic.BaseModel):
    n: int


class Colour(enum.Enum):
    RED = "red"


def plain(a: int, b: str = "x") -> None: ...
def keywords(a: int, *, path: Path | None = None, model: Model | None = None) -> None: ...
def rest(a: int, *more: float, k: int = 1, **others: str) -> None: ...
def positional(a: int, b: int, /) -> None: ...
def nothing() -> None: ...
def anything_at_all(*args: int, **kwargs: int) -> None: ...
def anything(value: Any) -> None: ...


def unnamed(args: Sequence[Any], kwargs: dict[str, Any], task: str) -> bytes:
    """The payload of a call by name, without the code."""
    return UnknownArguments(task, anything_at_all).encode(args, kwargs)


def there(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as they arrive."""
    arguments = Arguments("t", fn)
    return arguments.decode(arguments.encode(args, kwargs))


def test_each_kind_of_parameter() -> None:
    assert there(plain, 1) == ([], {"a": 1})
    assert there(plain, 1, b="y") == ([], {"a": 1, "b": "y"})
    assert there(keywords, 1, path=Path("/x")) == ([1], {"path": Path("/x")})
    assert there(rest, 1, 2.5, 3, k=4, z="q") == ([1, 2.5, 3.0], {"k": 4, "z": "q"})
    assert there(positional, 1, 2) == ([1, 2], {})
    assert there(nothing) == ([], {})
    assert there(anything_at_all, 1, args=2, kwargs=3) == ([1], {"args": 2, "kwargs": 3})
    assert Arguments("t", nothing).encode((), {}) == EMPTY


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Point, Point(1, 2)),
        (Shape, Shape([Point(1)])),
        (Model, Model(n=3)),
        (Colour, Colour.RED),
        (Path, Path("/a/b")),
        (Decimal, Decimal("1.50")),
        (uuid.UUID, uuid.uuid4()),
        (datetime, datetime(2026, 11, 21, 12, 30, tzinfo=UTC)),
        (bytes, b"\x00\xff"),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "a")),
        (dict[str, list[Point]], {"a": [Point(1)]}),
        (int | None, None),
    ],
)
def test_values_arrive_as_they_were_annotated(kind: Any, value: Any) -> None:
    def fn(value: Any) -> None: ...

    fn.__annotations__["value"] = kind
    assert there(fn, value) == ([], {"value": value})


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "said"),
    [
        (plain, ("1",), {}, "argument 'a': Expected `int`, got `str`"),
        (plain, (), {}, "missing a required argument: 'a'"),
        (plain, (1, "b", 3), {}, "too many positional arguments"),
        (plain, (1,), {"c": 1}, "unexpected keyword argument 'c'"),
        (anything, (object(),), {}, "argument 'value': a value of type object cannot be serialised"),
        (keywords, (1,), {"model": 5}, "argument 'model'"),
        (rest, (1, "no"), {}, "argument '*[0]'"),
        (anything, (10**30,), {}, "argument 'value'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadArguments) as caught:
        Arguments("mail.send", fn).encode(args, kwargs)
    assert str(caught.value).startswith("task 'mail.send': ")
    assert said in str(caught.value)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BadArguments, match="nested too deeply"):
        Arguments("t", anything).encode((loop,), {})


def test_calls_sent_without_the_code_are_named_on_arrival() -> None:
    assert Arguments("t", keywords).decode(unnamed((1,), {"path": "/p"}, "t")) == ([1], {"path": Path("/p")})
    assert Arguments("t", rest).decode(unnamed((1, 2.0), {"q": "r"}, "t")) == ([1, 2.0], {"q": "r"})
    assert Arguments("t", plain).decode(unnamed((1,), {}, "t")) == ([], {"a": 1})


def test_what_was_passed_by_position_is_found_by_its_place() -> None:
    """After a deploy: a name that is still there counts first, then the place, and keywords never move."""

    def old(a: int, b: int = 0, *more: int) -> None: ...
    def renamed(x: int, y: int = 0) -> None: ...
    def swapped(b: int, a: int) -> None: ...
    def longer(a: int, b: int, c: int) -> None: ...
    def between(a: int, new: int, b: int = 0) -> None: ...

    payload = Arguments("t", old).encode((1, 2), {})
    assert Arguments("t", renamed).decode(payload) == ([], {"x": 1, "y": 2})
    assert Arguments("t", swapped).decode(payload) == ([], {"a": 1, "b": 2})
    assert Arguments("t", longer).decode(Arguments("t", old).encode((1, 2, 3), {})) == ([], {"a": 1, "b": 2, "c": 3})
    by_name = Arguments("t", old).encode((), {"a": 1})
    for arguments, call in [(Arguments("t", between), payload), (Arguments("t", renamed), by_name)]:
        with pytest.raises(Misfit):
            arguments.decode(call)
    for broken in (b"", b"\xc1", b"\x01", b"\x81\xa1*\x01"):
        with pytest.raises(Undecodable) as caught:
            Arguments("t", renamed).decode(broken)
        assert not isinstance(caught.value, Misfit)


@pytest.mark.parametrize("payload", [unnamed((1, "s", 3), {}, "t"), unnamed((), {"z": 1}, "t"), b"", b"\xc1", b"\x01"])
def test_what_does_not_fit_on_arrival_is_undecodable(payload: bytes) -> None:
    with pytest.raises(Undecodable):
        Arguments("t", plain).decode(payload)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), st.lists, max_leaves=20))
def test_plain_data_arrives_as_it_was(value: Any) -> None:
    assert there(anything, value) == ([], {"value": value})


@given(st.binary(max_size=80))
def test_any_bytes_are_decoded_or_refused(payload: bytes) -> None:
    try:
        Arguments("t", keywords).decode(payload)
    except Undecodable:
        return
