"""pydantic's values <-> plain data, by pydantic itself, which is never imported here: whoever uses it has done that."""

from __future__ import annotations

import collections
import collections.abc
import re
import sys
import types
import typing
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

_ALSO = (collections.deque, re.Pattern)
"""Types that pydantic writes and reads beside its own and those of `ipaddress`."""
_LAZY = "django.utils.functional.Promise"
"""The base of Django's lazy values, such as those of `gettext_lazy`."""


class Adapted(type):
    """The classes that stand for annotations that pydantic reads. Whatever it made is an instance of them."""

    read: Any
    """The function from plain data to the value."""

    def __instancecheck__(cls, value: object) -> bool:  # asked by msgspec
        return True


def is_own(part: Any) -> bool:
    """Whether this part of an annotation needs pydantic."""
    if sys.modules.get("pydantic") is None or isinstance(part, str | typing.TypeVar):
        return False
    known = part if isinstance(part, type) else type(part)
    return known.__module__.split(".")[0] == "pydantic" or hasattr(known, "__get_pydantic_core_schema__")


def adapted(annotation: Any) -> Adapted:
    """What stands for the annotation in a decoder. Raises TypeError for one that pydantic cannot read or not tell apart,
    NameError for one that names what is not defined yet."""
    pydantic = sys.modules["pydantic"]
    for why in _lost(annotation, set()):
        raise TypeError(why)
    try:
        adapter = pydantic.TypeAdapter(annotation)
        _ = adapter.core_schema  # raises where a class is not whole yet
    except pydantic.errors.PydanticUndefinedAnnotation:
        raise
    except pydantic.errors.PydanticUserError as error:
        kind = NameError if error.code == "class-not-fully-defined" else TypeError
        raise kind(str(error).splitlines()[0]) from None
    # Not strict: texts are the plain form of dates and much else. By name: aliases need not be the same in both directions.
    how = {"strict": False, "by_name": True} if _by_name() else {"strict": False}
    return Adapted("Adapted", (), {"read": staticmethod(lambda value: adapter.validate_python(value, **how))})


@lru_cache(maxsize=1000)
def reader(kind: type) -> Any:
    """The function from plain data to a value of this class."""
    return adapted(kind).read


def plain(value: Any) -> Any:
    """What pydantic makes of one of its values. Raises TypeError for a value of another kind."""
    if not is_own(value) and type(value).__module__ != "ipaddress" and not isinstance(value, _ALSO):
        hint = ": pass its id, and load it in the task" if is_row(type(value)) else ""
        if any(f"{each.__module__}.{each.__name__}" == _LAZY for each in type(value).__mro__):
            raise TypeError("a lazy translation cannot be serialised: pass str(…) of it")
        raise TypeError(f"a value of type {type(value).__qualname__} cannot be serialised{hint}")
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(round_trip=True, by_alias=not _by_name(), warnings=False)
    return sys.modules["pydantic_core"].to_jsonable_python(value)


def is_row(kind: Any) -> bool:
    """Whether it is a model of Django or SQLAlchemy: a row that may be another one by the time the job runs."""
    return hasattr(kind, "__mapper__") or (hasattr(kind, "_meta") and hasattr(kind, "pk"))


def state(value: Any) -> tuple[Any, ...] | None:
    """All that two models must have in common to be equal; None for other values."""
    if not is_own(value) or not hasattr(value, "model_dump"):
        return None
    return value.__dict__, value.__pydantic_extra__, value.__pydantic_private__


@lru_cache(maxsize=1)
def _by_name() -> bool:
    major, minor = sys.modules["pydantic"].VERSION.split(".")[:2]
    return (int(major), int(minor)) >= (2, 11)


def _lost(kind: Any, seen: set[Any], *, tagged: bool = False) -> Iterator[str]:
    """Why values of this annotation would arrive changed. `tagged`: a discriminator tells its alternatives apart."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        args, tagged = args[:1], any(getattr(mark, "discriminator", None) for mark in args[1:])
    elif origin is typing.Literal:
        return
    elif origin in (typing.Union, types.UnionType) and not tagged:
        yield from _confused(args)
    for each in args:
        yield from _lost(each, seen, tagged=tagged and origin is typing.Annotated)
    if isinstance(kind, type) and kind not in seen:
        seen.add(kind)
        if kind.__name__ in ("SecretStr", "SecretBytes") and is_own(kind):
            yield f"a {kind.__name__} would be stored for all to read; pass where the secret is kept"
        for name, field in _fields(kind).items():
            if field.exclude:
                yield f"field {name!r} of {kind.__qualname__} is excluded and would not arrive; pass it as a parameter"
            yield from _lost(field.annotation, seen, tagged=field.discriminator is not None)


def _confused(alternatives: tuple[Any, ...]) -> Iterator[str]:
    """Which alternatives of a union look alike as plain data."""
    shapes = [(_shape(each), each) for each in alternatives]
    for place, (shape, each) in enumerate(shapes):
        for other, another in shapes[place + 1 :]:
            numbers = {shape, other} <= {"decimal", "number"} and "decimal" in (shape, other)
            texts = {shape, other} <= {"text", "decimal"}
            if (numbers or texts or (shape == other and shape in ("list", "map"))) and not _distinct(each, another):
                names = [getattr(kind, "__qualname__", str(kind)) for kind in (each, another)]
                yield f"{names[0]} and {names[1]} look alike once they are stored; give them a discriminator, or use one"


_SHAPES: dict[Any, str] = {
    **dict.fromkeys((type(None), bytes), "itself"),
    **dict.fromkeys((bool, int, float), "number"),
    **dict.fromkeys((list, tuple, set, frozenset, collections.deque), "list"),
    **dict.fromkeys((dict, collections.abc.Mapping), "map"),
}


def _shape(kind: Any) -> str:
    """What the plain data of this annotation look like."""
    kind = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
    origin = typing.get_origin(kind) or kind
    if origin in _SHAPES:
        return _SHAPES[origin]
    if origin is typing.Literal or not isinstance(origin, type):
        return "itself"
    if getattr(origin, "__pydantic_root_model__", False):
        return _shape(_fields(origin)["root"].annotation)
    if typing.is_typeddict(origin) or any(hasattr(origin, name) for name in ("model_dump", "__dataclass_fields__")):
        return "map"
    return "decimal" if origin.__name__ == "Decimal" else "text"


def _distinct(one: Any, other: Any) -> bool:
    """Whether two models differ in their fields so that data of one are never taken for the other: pydantic takes the one of
    which more fields are there."""
    mine, others = _fields(one), _fields(other)
    if not mine or not others:
        return False
    for name in mine.keys() & others.keys():
        tags = [field.annotation for field in (mine[name], others[name])]
        literal = all(typing.get_origin(tag) is typing.Literal for tag in tags)
        if literal and not set(typing.get_args(tags[0])) & set(typing.get_args(tags[1])):
            return True
    return not (_taken_for(mine, others) or _taken_for(others, mine))


def _taken_for(mine: dict[str, Any], others: dict[str, Any]) -> bool:
    return mine.keys() <= others.keys() and all(name in mine for name, field in others.items() if field.is_required())


def _fields(kind: Any) -> dict[str, Any]:
    found = getattr(kind, "__pydantic_fields__", None)  # of models, and of pydantic's dataclasses
    return found if isinstance(found, dict) else {}
