"""What an annotation says is what the function gets, and what the caller gets back; or the task is refused."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, Unpack
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, HttpUrl, IPvAnyAddress

from longboat import BadArguments, ConfigError, Depends, Longboat, Undecodable
from longboat.core import codec
from longboat.tasks.arguments import Arguments, UnknownArguments

if TYPE_CHECKING:
    from tests.apps.nowhere import Unknown  # type: ignore[import-not-found]  # that is the point

app = Longboat("memory://")
BERLIN = datetime(2026, 7, 1, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
TWICE = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)


@dataclass
class Left:
    n: int = 0


@dataclass
class Right:
    n: int = 0


@dataclass
class Derived(Left):
    more: int = 1


@dataclass(eq=False)
class Unequal:
    n: int


@dataclass
class Broken:
    n: float


@dataclass
class Initial:
    n: int
    more: dataclasses.InitVar[int]


class Tagged(msgspec.Struct, tag="t"):
    at: datetime


class Other(msgspec.Struct, tag="o"):
    n: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
    days: date
    numbers: set[int]
    data: bytes = b"\xff"


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int = Field(alias="N")
    m: int = Field(validation_alias=AliasChoices("mm", "mmm"), serialization_alias="M")

    @pydantic.computed_field  # type: ignore[prop-decorator]  # as pydantic has it
    @property
    def double(self) -> int:
        return self.n * 2


class Nested(BaseModel):
    inner: Aliased
    url: HttpUrl
    ip: IPvAnyAddress
    net: ipaddress.IPv4Network
    wait: timedelta = timedelta(seconds=1.5)
    price: Decimal = Decimal("1.10")
    rate: float = float("inf")


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    n: int = 0


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    n: int = 0


class Circle(BaseModel):
    radius: float


class Square(BaseModel):
    side: float


class Point(BaseModel):
    x: int
    y: int = 0


class Place(BaseModel):
    x: int
    y: int = 0
    name: str = ""


class Hidden(BaseModel):
    n: int = Field(default=0, exclude=True)


class Private(BaseModel):
    n: int
    _secret: int = pydantic.PrivateAttr(default=1)


@pydantic.dataclasses.dataclass
class Checked:
    url: HttpUrl
    n: int = Field(gt=0)


class Root(pydantic.RootModel[list[int]]):
    pass


class Options(TypedDict, total=False):
    at: datetime
    n: int


class Half(enum.Enum):
    HALF = 0.5


class Session: ...


NESTED = Nested(
    inner=Aliased(N=1, mm=2),  # type: ignore[call-arg]  # by its aliases
    url=HttpUrl("http://x.y"),
    ip=ipaddress.ip_address("::1"),
    net=ipaddress.IPv4Network("10.0.0.0/8"),
)
STRICT = Strict(at=BERLIN, days=date(2026, 1, 1), numbers={1, 2})

FAITHFUL: list[tuple[Any, Any]] = [
    (datetime, BERLIN),
    (datetime, TWICE),
    (datetime, datetime(2026, 1, 1)),
    (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    (list[datetime | None], [BERLIN, None]),
    (Tagged | Other, Tagged(BERLIN)),
    (Tagged | Other, Other(1)),
    (Left | None, Left(1)),
    (Derived, Derived(1, 2)),
    (Decimal | int, Decimal(5)),
    (Any, {"a": [1, 2.5, b"x", None, True, {"b": "c"}]}),
    (Any, float("inf")),
    (object, [1]),
    (Sequence[int], [1, 2]),
    (frozenset[UUID], frozenset({UUID(int=1)})),
    (Options, {"at": BERLIN}),
    (Path | None, Path("/a")),
    (Strict, STRICT),
    (Aliased, NESTED.inner),
    (Nested, NESTED),
    (dict[str, list[Nested]], {"a": [NESTED]}),
    (HttpUrl, HttpUrl("http://a.b/c")),
    (IPvAnyAddress, ipaddress.ip_address("1.2.3.4")),
    (Annotated[int, Field(gt=3)], 4),
    (Annotated[int, {"others": ["write"]}, msgspec.Meta(gt=3)], 4),
    (Aliased | str, NESTED.inner),
    (Aliased | str, "text"),
    (Cat | Dog, Dog(n=1)),
    (Annotated[Cat | Dog, Field(discriminator="kind")], Cat(n=1)),
    (Circle | Square, Square(side=1.5)),
    (list[Circle | Square | None], [Circle(radius=1), None, Square(side=2)]),
    (Checked, Checked(HttpUrl("http://x.y"), 3)),
    (Root, Root([1, 2])),
    (Strict | None, None),
]


def task(kind: Any) -> Callable[[Any], Any]:
    def give(value: Any) -> Any:
        return value

    give.__annotations__ = {"value": kind, "return": kind}
    give.__qualname__ = give.__name__ = "give"
    return give


@pytest.mark.parametrize(("kind", "value"), FAITHFUL)
def test_values_arrive_equal_and_come_back_equal(kind: Any, value: Any) -> None:
    made = app.task(name="t")(task(kind))
    app.registry.tasks.clear()
    args, kwargs = made.arguments.decode(made.arguments.encode((value,), {}))
    back = codec.decode(made.result.encode(value), made.kind)
    for arrived in (*args, *kwargs.values(), back):
        assert type(arrived) is type(value)
        if isinstance(value, datetime):  # a moment that Berlin has twice equals none elsewhere
            assert (arrived.isoformat(), arrived.date()) == (value.isoformat(), value.date())
        else:
            assert arrived == value


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Left | Right, "more than one dataclass"),
        (UUID | str, "more than one str-like type"),
        (date | datetime, "more than one str-like type"),
        (bytes | str, "more than one str-like type"),
        (Path | int, "custom type"),
        (Initial, "InitVar"),
        (Half, "Enums"),
        (Session, "values of type Session cannot be stored: (pass|return) plain data, such as its id"),
        (list[Session], "values of type Session cannot be stored"),
        (Iterable[int], "cannot be stored"),
        (Callable[[int], int], "cannot be stored"),
        (Point | Place, "Point and Place look alike"),
        (Point | dict[str, int], "look alike"),
        (Circle | UUID | str, "UUID and str look alike"),
        (Hidden, "'n' of Hidden is excluded"),
        (list[Hidden], "excluded"),
        (pydantic.SecretStr, "SecretStr"),
        (Left | Point, "look alike"),
    ],
)
def test_what_could_arrive_as_something_else_is_refused_where_it_is_defined(kind: Any, said: str) -> None:
    for name in ("value", "return"):
        fn = task(kind)
        fn.__annotations__ = {name: kind}
        with pytest.raises(ConfigError, match=said) as caught:
            app.task(name="refused")(fn)
        assert ("'value'" if name == "value" else "returns") in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Any, UUID(int=1), "a value of type UUID would arrive as str; annotate it"),
        (Any, {"a": [{1, 2}]}, "a value of type set would arrive as list"),
        (Any, BERLIN, "a value of type datetime would arrive as str"),
        (dict[str, Any], {"a": Left(1)}, "a value of type Left would arrive as dict"),
        (Left, Derived(1, 2), "a value of type Derived would arrive as Left"),
        (Private, Private(n=1).model_copy(update={"_secret": 2}), None),
    ],
)
def test_a_value_that_would_arrive_changed_is_refused(kind: Any, value: Any, said: str | None) -> None:
    if said is None:
        value._secret, said = 7, "changed"
    made = app.task(name="t")(task(kind))
    app.registry.tasks.clear()
    with pytest.raises(BadArguments, match=f"argument 'value': .*{said}"):
        made.arguments.encode((value,), {})
    with pytest.raises(TypeError, match=said):
        made.result.encode(value)


def test_plain_data_are_made_what_the_annotation_says() -> None:
    for kind, value, made in [(Left, {"n": 1}, Left(1)), (datetime, "2026-01-01T00:00:00", datetime(2026, 1, 1))]:
        arguments = Arguments("t", task(kind))
        assert arguments.decode(arguments.encode((value,), {})) == ([], {"value": made})


def test_what_has_no_equality_or_is_nearly_a_list_is_accepted() -> None:
    for kind, value in [(Unequal, Unequal(1)), (Any, (1, (2, 3))), (Any, float("nan")), (Broken, Broken(float("nan")))]:
        Arguments("t", task(kind)).encode((value,), {})


def test_a_parameter_that_can_be_left_out_may_be_of_any_class() -> None:
    def fn(n: int, session: Session | None = None, other: Session = Session()) -> None: ...  # noqa: B008  # it is what is tried

    arguments = Arguments("t", fn)
    assert arguments.decode(arguments.encode((1,), {"session": None})) == ([], {"n": 1, "session": None})
    with pytest.raises(BadArguments, match="'other'"):
        arguments.encode((1,), {"other": Session()})


# --- annotations that cannot be evaluated


def missing(known: int, unknown: Unknown, later: Later) -> None: ...


def test_only_the_annotation_that_cannot_be_evaluated_is_unchecked_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    arguments = Arguments("t", missing)
    with caplog.at_level(logging.WARNING, "longboat"):
        for _ in range(2):
            arguments.encode((1, {"any": "thing"}, Later(2)), {})
    assert [record.getMessage() for record in caplog.records] == [
        "task 't': parameter 'unknown' is not checked, because its annotation cannot be evaluated; import what it names, "
        "also when no type checker runs"
    ]
    for args, said in [(("1", {}, Later(2)), "'known'"), ((1, {}, 2), "'later'"), ((1, Left(), Later(2)), "'unknown'")]:
        with pytest.raises(BadArguments, match=said):
            arguments.encode(args, {})


@dataclass
class Later:
    n: int


def postponed(n: int, given: Dep) -> None: ...


def five() -> int:
    return 5


Dep = Annotated[int, Depends(five)]


def test_a_dependency_by_an_alias_is_none_of_the_callers_arguments() -> None:
    made = app.task(name="t")(postponed)
    app.registry.tasks.clear()
    assert made.needs == {"given": five}
    assert list(made.arguments.parameters) == ["n"]


def unknown_result() -> Unknown: ...


def test_a_result_that_is_unchecked_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    made = app.task(name="t")(unknown_result)
    app.registry.tasks.clear()
    with caplog.at_level(logging.WARNING, "longboat"):
        assert {made.kind for _ in range(2)} == {Any}
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == ["task 't': the result is not checked"]


# --- each kind of parameter


def test_keyword_parameters_are_checked_and_converted() -> None:
    def fn(a: int, /, *args: datetime, **kwargs: datetime) -> None: ...

    def anything(*args: Any, **kwargs: Any) -> None: ...

    arguments, by_name = Arguments("t", fn), UnknownArguments("t", anything).encode
    payload = arguments.encode((1, BERLIN), {"a": BERLIN, "b": BERLIN})
    assert arguments.decode(payload) == ([1, BERLIN], {"a": BERLIN, "b": BERLIN})
    assert arguments.decode(by_name((1,), {"a": "2026-01-01T00:00:00"})) == ([1], {"a": datetime(2026, 1, 1)})
    with pytest.raises(BadArguments, match="Expected `datetime`"):
        arguments.encode((1,), {"b": 3})
    with pytest.raises(Undecodable):
        arguments.decode(by_name((1,), {"b": 3}))


def test_keywords_of_a_typed_dict() -> None:
    def fn(**kwargs: Unpack[Options]) -> None: ...

    arguments = Arguments("t", fn)
    assert arguments.decode(arguments.encode((), {"at": BERLIN, "n": 1})) == ([], {"at": BERLIN, "n": 1})
    with pytest.raises(BadArguments):
        arguments.encode((), {"n": "x"})
