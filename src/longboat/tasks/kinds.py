"""Kind: how the values of one annotation travel. It is decided where the task is defined, or the task is refused there."""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import enum
import inspect
import logging
import sys
import types
import typing
import uuid
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import msgspec

from longboat.core import codec, models
from longboat.errors import ConfigError

_SURE = (
    *(type(None), bool, int, float, str, bytes, decimal.Decimal, uuid.UUID),
    *(datetime.date, datetime.time, datetime.timedelta),
)
"""What arrives equal whenever it is accepted."""
_PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict)
_HOLDERS = (list, dict, tuple, set, frozenset)
_OTHERS = (
    *(Any, object, datetime.datetime, bytearray, memoryview, msgspec.Raw, msgspec.msgpack.Ext),
    *(collections.abc.Collection, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Set),
    *(collections.abc.MutableSet, collections.abc.Mapping, collections.abc.MutableMapping),
)
_FIELDS = ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__", "_fields")
_MARKS = (typing.Union, types.UnionType, typing.Annotated, typing.Literal, typing.Required, typing.NotRequired)
_PASS = "pass plain data, such as its id, or have the worker fill it: name = Depends(…)"
_RETURN = "return plain data, such as its id, or a path"


def tell_unchecked(task: str, what: str) -> None:
    """Say that an annotation could not be evaluated at last."""
    logging.getLogger("longboat").warning(
        "task %r: %s is not checked, because its annotation cannot be evaluated; import what it names, also when no type "
        "checker runs",
        task,
        what,
    )


class Missing:
    """In the place of an annotation that cannot be evaluated: a class of the type checker's, or defined elsewhere."""

    def __init__(self, why: str) -> None:
        self.why = why


class Kind:
    """What one annotation means for the values on their way."""

    def __init__(self, wire: Any = Any, *, sure: bool = False, whole: bool = False) -> None:
        self.wire = wire
        """What a decoder is made for: the annotation, or what stands for it."""
        self.sure = sure
        """Whether whatever is accepted arrives equal. Of other kinds each value is compared with what will arrive."""
        self.whole = whole
        """Whether it is that of all `*args` or `**kwargs` together: they are annotated with Unpack[…]."""
        self._decode = codec.decoder(wire).decode
        self._none = self._takes(codec.NONE)

    def _takes(self, data: bytes) -> bool:
        try:
            self._decode(data)
        except codec.DECODE_ERRORS:
            return False
        return True

    def encode(self, value: Any) -> bytes:
        """The value as bytes from which an equal one is made. Raises one of ENCODE_ERRORS, saying what does not fit."""
        if value is None and self._none:
            return codec.NONE
        data = codec.encode(value if self.sure else codec.plain(value))
        arrived = self._decode(data)
        if not self.sure and not same(value, arrived):
            raise TypeError(changed(value, arrived))
        return data


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """Its signature, whatever its annotations name: Python 3.14 evaluates them when they are asked for."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(fn)


def hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """The function's annotations by parameter, and of "return". One that cannot be evaluated here is Missing."""
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception:  # evaluating is running anybody's code
        return {name: _evaluated(fn, name, each) for name, each in _written(fn).items()}


def _written(fn: Callable[..., Any]) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(fn, format=annotationlib.Format.FORWARDREF)
    return getattr(fn, "__annotations__", {})


def _evaluated(fn: Callable[..., Any], name: str, written: Any) -> Any:
    def stub() -> None: ...

    stub.__annotations__ = {name: written}
    try:
        return typing.get_type_hints(stub, getattr(inspect.unwrap(fn), "__globals__", {}), include_extras=True)[name]
    except Exception as error:
        return Missing(str(error))


def kind_of(annotation: Any, *, sent: bool = True, instead: str = _PASS) -> Kind:
    """How its values travel. Raises ConfigError for one that cannot, saying what to write instead, NameError for one that
    names what is not defined yet. `sent`: False for a parameter that can be left out; it may then be of any class."""
    if annotation is inspect.Parameter.empty or annotation in (typing.NoReturn, typing.Never):
        return Kind()
    if typing.get_origin(annotation) is typing.Unpack:
        return Kind(kind_of(*typing.get_args(annotation)).wire, whole=True)
    parts = list(_parts(annotation))
    if any(map(models.is_own, parts)):
        try:
            return Kind(models.adapted(annotation))
        except TypeError as error:
            if not any(isinstance(part, type) and issubclass(part, msgspec.Struct) for part in parts):
                raise ConfigError(str(error)) from None  # msgspec's own classes are read by msgspec
    if typing.get_origin(annotation) is typing.Annotated:  # what others have written there need not be hashable
        marks = [mark for mark in annotation.__metadata__ if isinstance(mark, msgspec.Meta)]
        annotation = typing.Annotated[(annotation.__origin__, *marks)] if marks else annotation.__origin__
    if sent and (strange := next((part for part in parts if models.is_row(part) or not _known(part)), None)) is not None:
        name = getattr(strange, "__qualname__", str(strange))
        raise ConfigError(f"values of type {name} cannot be stored: {instead}")
    try:
        codec.decoder(annotation)
        codec.decoder(typing.Union[annotation, msgspec.UnsetType])  # noqa: UP007  # it is no type yet
    except NameError:
        raise
    except Exception as error:  # an annotation can be anything
        raise ConfigError(f"{_worded(error)}; write what they have in common, or only one of them") from None
    return Kind(annotation, sure=all(_is_sure(part) for part in parts))


def kind_of_result(fn: Callable[..., Any]) -> Kind | None:
    """How what the function returns travels; None if that cannot be said yet. Raises ConfigError."""
    annotation = hints(fn).get("return", Any)
    if typing.get_origin(annotation) in (collections.abc.Coroutine, collections.abc.Awaitable):
        raise ConfigError(
            f"{fn.__qualname__} is a plain function that returns a coroutine: make it `async def`, and await that"
        )
    try:
        return None if isinstance(annotation, Missing) else kind_of(annotation, instead=_RETURN)
    except NameError:
        return None
    except ConfigError as error:
        raise ConfigError(f"what {fn.__qualname__} returns: {error}") from None


def same(sent: Any, arrived: Any) -> bool:
    """Whether the one is as good as the other. A tuple may arrive as a list, where nothing says that it is a tuple, and
    plain data as what the annotation makes of them."""
    try:
        if sent is arrived or bool(sent == arrived):
            return True
    except Exception:  # the comparison of anybody's classes
        return False
    if type(sent) in (list, tuple) and type(arrived) in (list, tuple):
        return len(sent) == len(arrived) and all(map(same, sent, arrived))
    if isinstance(sent, datetime.datetime) and isinstance(arrived, datetime.datetime):
        return sent.isoformat() == arrived.isoformat()  # an hour that a zone has twice equals none elsewhere
    if type(sent) is not type(arrived):
        return type(sent) in _PLAIN and type(arrived) not in _PLAIN  # made as the annotation says
    if isinstance(sent, dict):
        return sent.keys() == arrived.keys() and all(same(value, arrived[key]) for key, value in sent.items())
    if isinstance(sent, float):
        return sent != sent and arrived != arrived
    state = models.state(sent)
    if state is not None:
        return all(map(same, state, models.state(arrived) or ()))
    names = getattr(sent, "__struct_fields__", None) or getattr(sent, "__dataclass_fields__", ())
    if names:
        return all(same(getattr(sent, name, None), getattr(arrived, name, None)) for name in names)
    equality: Any = type(sent).__eq__
    return equality is object.__eq__


def changed(sent: Any, arrived: Any) -> str:
    """What to say of a value that is not the same when it arrives."""
    while type(sent) is type(arrived) and isinstance(sent, list | tuple | dict) and len(sent) == len(arrived):
        keys = list(sent) if isinstance(sent, dict) else range(len(sent))
        try:
            sent, arrived = next((sent[key], arrived[key]) for key in keys if not same(sent[key], arrived[key]))
        except (StopIteration, LookupError):
            break
    if type(sent) is type(arrived):
        return f"a value of type {type(sent).__qualname__} would arrive changed: {_short(sent)} as {_short(arrived)}"
    here, there = type(sent).__qualname__, type(arrived).__qualname__
    return f"a value of type {here} would arrive as {there}; annotate it with the type that it has"


def _parts(annotation: Any, seen: tuple[Any, ...] = ()) -> Iterator[Any]:
    """The annotation and what it is made of."""
    while isinstance(annotation, typing.NewType) or type(annotation).__name__ == "TypeAliasType":
        if annotation in seen:
            return  # an alias may name itself
        seen = (*seen, annotation)
        annotation = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__")  # noqa: B009  # pyright knows no alias by its name
    yield annotation
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _parts(args[0], seen)
        yield from (mark for mark in args[1:] if models.is_own(mark))
    elif origin is not typing.Literal:
        for each in args:
            if each is not Ellipsis:
                yield from _parts(each, seen)
    if isinstance(annotation, type) and not models.is_own(annotation):
        yield from filter(models.is_own, _field_types(annotation))


def _field_types(kind: type) -> list[Any]:
    """The types within the fields of a dataclass."""
    if not hasattr(kind, "__dataclass_fields__"):
        return []
    try:
        found = typing.get_type_hints(kind, include_extras=True).values()
    except Exception:  # msgspec says more about it
        return []
    return [part for each in found for part in (each, *typing.get_args(each))]


def _known(part: Any) -> bool:
    origin = typing.get_origin(part) or part
    if not isinstance(origin, type) or origin in (*_SURE, *_HOLDERS, *_OTHERS, *_MARKS):
        return origin is not collections.abc.Callable  # what msgspec cannot make of the others, it says
    return any(hasattr(origin, name) for name in _FIELDS) or (
        typing.is_typeddict(origin) or models.is_own(origin) or issubclass(origin, enum.Enum | PurePath)
    )


def _is_sure(part: Any) -> bool:
    origin = typing.get_origin(part)
    if origin is None:
        return part in _SURE or (isinstance(part, type) and issubclass(part, enum.Enum))
    return origin in (*_HOLDERS, *_MARKS)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _worded(error: Exception) -> str:
    return str(error).replace("Type unions may", "a union may").removesuffix(" is not supported")
