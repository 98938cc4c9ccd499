"""Keys are the same for the same arguments: in every process, and in whatever form they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

import msgspec
import pydantic
import pytest

from longboat import BadArguments, ConfigError, Limit, Longboat, Unique
from longboat.tasks.keys import canonical


class Colour(Enum):
    RED = "red"


@dataclass
class Order:
    shop: str
    tags: set[str] = field(default_factory=set)


class Point(msgspec.Struct):
    x: int


class Model(pydantic.BaseModel):
    n: int = 1


SET_APP = """
from longboat import Limit, Longboat, Unique
app = Longboat("memory://")
@app.task(unique=Unique(), limit=Limit(key="{typed}{free}", running=1), name="t")
def t(typed: set[str], free, order: dict[str, frozenset[int]]) -> None: ...
letters = set("abcdefgh")
job, key = t.new((letters, [letters, {"k": letters}], {"b": frozenset({1, 1000, 3}), "a": frozenset()}), {})
print(key.text, job.constraints.limits[0].key)
"""


def test_sets_have_one_key_in_every_process() -> None:
    def told(seed: int) -> str:
        env = {**os.environ, "PYTHONHASHSEED": str(seed)}
        return subprocess.run([sys.executable, "-c", SET_APP], env=env, capture_output=True, text=True, check=True).stdout

    assert len({told(seed) for seed in range(4)}) == 1


def test_the_same_call_has_one_key_however_it_is_written() -> None:
    app = Longboat("memory://")

    @app.task(unique=Unique(), name="t")
    def t(a: int, b: float = 1, *rest: int, c: dict[str, int] | None = None, **more: Any) -> None: ...

    def key(*args: Any, **kwargs: Any) -> str:
        return _key(t, *args, **kwargs)

    assert key(1) == key(a=1) == key(1, 1) == key(1, 1.0) == key(1, b=1.0, c=None)
    assert key(1, c={"x": 1, "y": 2}) == key(1, c={"y": 2, "x": 1})
    assert key(1, p=1, q=2) == key(1, q=2, p=1)
    assert len({key(1), key(2), key(1, 2), key(1, 1, 3), key(1, x=1), key(1, c={})}) == 6


@pytest.mark.parametrize(
    ("annotation", "template", "given", "text"),
    [
        (Order, "{x.shop}", Order("a"), "a"),
        (Order, "{x.shop}", {"shop": "a"}, "a"),
        (Order, "{x[shop]}", {"shop": "a"}, "a"),
        (dict[str, Any], "{x.shop}", {"shop": "a"}, "a"),
        (Any, "{x.shop.name}", {"shop": {"name": "a"}}, "a"),
        (Order, "{x.tags}", Order("a", {"c", "b"}), '["b","c"]'),
        (Point, "{x.x}", {"x": 7}, "7"),
        (Model, "{x.n}", {}, "1"),
        (Colour, "{x}", Colour.RED, "red"),
        (Colour, "{x}", "red", "red"),
        (date, "{x:%Y-%m}", date(2026, 11, 28), "2026-11"),
        (datetime, "{x}", datetime(2026, 11, 28, 10, tzinfo=UTC), "2026-11-28T10:00:00Z"),
        (float, "{x}", 1, "1.0"),
        (list[int], "{x[0]}", [5], "5"),
        (str | None, "{x}", None, "None"),
        (str, "{{{x:>3}}}", "a", "{  a}"),
    ],
)
def test_a_key_is_made_of_what_the_function_gets(annotation: Any, template: str, given: Any, text: str) -> None:
    def f(x: Any) -> None: ...

    f.__annotations__["x"] = annotation
    task = Longboat("memory://").task(name="t", limit=Limit(key=template, running=1), fair_by=template)(f)
    job, _ = task.new((given,), {})
    assert job.constraints is not None
    assert ([limit.key for limit in job.constraints.limits], job.constraints.fairness_key) == ([f"t:{text}"], text)


def test_a_template_says_no_more_than_names_and_formats() -> None:
    for template in ("{x!r}", "{x:{y}}", "{x", "{}"):
        with pytest.raises(ConfigError, match="limit"):
            Longboat("memory://").task(name="t", limit=Limit(key=template, running=1))(_two)


def test_a_name_that_is_given_twice_is_not_one_argument() -> None:
    @Longboat("memory://").task(unique=Unique(), name="t")
    def t(a: int, /, **more: int) -> None: ...

    assert len({_key(t, 1), _key(t, 2), _key(t, 1, a=2), _key(t, 2, a=2), _key(t, 2, a=1)}) == 5


def test_what_makes_no_key_is_a_bad_argument() -> None:
    task = Longboat("memory://").task(unique=Unique(), name="t")(_one)
    itself: list[Any] = []
    itself.append(itself)
    deep: Any = "end"
    for _ in range(20_000):
        deep = [deep]
    for value in (itself, {object()}, [{1, object}], {"k": {frozenset(), object()}}, deep):
        with pytest.raises(BadArguments, match="'t'"):
            task.new((value,), {})


def test_equal_data_is_told_in_one_way() -> None:
    assert canonical({"b": {1, 2}, "a": Order("s", {"y", "x"})}) == canonical({"a": Order("s", {"x", "y"}), "b": {2, 1}})
    assert canonical({1, "a", None}) == canonical({None, "a", 1})
    assert canonical({1: "x", (2, 3): "y"}) == canonical({(2, 3): "y", 1: "x"})
    assert canonical(True) != canonical(1) != canonical("1")
    assert canonical(Model(n=2)) == canonical({"n": 2})


def test_a_default_that_cannot_be_sent_is_no_part_of_the_key() -> None:
    class Missing: ...

    app = Longboat("memory://")

    @app.task(unique=Unique(), name="t")
    def t(a: int, b: Any = Missing) -> None: ...

    @app.task(unique=Unique(by="{b}"), name="u")
    def u(a: int, b: Any = Missing) -> None: ...

    assert _key(t, 1) == _key(t, a=1) != _key(t, 2)
    with pytest.raises(BadArguments, match="cannot be made"):
        _key(u, 1)


def _one(x: Any) -> None: ...
def _two(x: Any, y: Any) -> None: ...


def _key(task: Any, *args: Any, **kwargs: Any) -> str:
    _, key = task.new(args, kwargs)
    text: str = key.text
    return text
