"""Keys made from a job's arguments: the same text for the same arguments, in whatever process and form they were given."""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Collection, Mapping
from functools import cache
from hashlib import sha256
from inspect import Parameter
from typing import Any

import msgspec

from longboat.core.codec import to_plain
from longboat.errors import BadArguments, ConfigError

LONGEST_KEY = 200
"""Characters of a key. A longer one is cut, and ends in its digest."""

_parts = re.compile(r"[^.\[\]]+").findall


class _Field(msgspec.Struct, frozen=True):
    """`{order.shop:>9}` and the text before it; no path: only text."""

    text: str
    path: tuple[str, ...] = ()
    spec: str = ""


@cache
def _fields(template: str) -> tuple[_Field, ...]:
    """Raises ValueError for a template that cannot be read."""
    found = []
    for text, name, spec, conversion in string.Formatter().parse(template):
        if conversion or "{" in (spec or ""):
            raise ValueError("a field is a name and a format, without ! or braces in it")
        found.append(_Field(text, () if name is None else tuple(_parts(name)) or (name,), spec or ""))
    return tuple(found)


def rendered(template: str | None, task: str, arguments: Mapping[str, Any]) -> str:
    """The key for these arguments: as `str.format` makes it, but the same in every process; None: of all of them.

    Raises BadArguments.
    """
    key = ""
    try:
        if template is None:
            return canonical(arguments)
        for field in _fields(template):
            key += field.text
            if field.path:
                value = arguments[field.path[0]]
                for name in field.path[1:]:
                    value = _member(value, name)
                key += format(value, field.spec) if field.spec else value if type(value) is str else _text(value)
    except (LookupError, AttributeError, TypeError, ValueError, RecursionError) as error:
        what = "a key of all" if template is None else f"the key {template!r}"
        raise BadArguments(f"task {task!r}: {what} cannot be made of its arguments: {error!r}") from None
    return key


def short(key: str) -> str:
    return key if len(key) <= LONGEST_KEY else f"{key[: LONGEST_KEY - 33]}~{digest(key)}"


def digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def mentions(template: str, names: Collection[str]) -> bool:
    """Whether the template needs one of these parameters."""
    return bool(names) and any(name in names for name in _names(template))


def check_template(template: str, option: str, task: str, parameters: Mapping[str, Parameter]) -> str:
    """Raises ConfigError for a template that names what is no parameter of the task."""
    try:
        names = _names(template)
    except ValueError as error:
        raise ConfigError(f"{option}: {template!r} cannot be read: {error}") from None
    open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    unknown = [name for name in names if name not in parameters]
    if unknown and not open_ended:
        raise ConfigError(f"{option}: {template!r} names {unknown[0]!r}, which is no parameter of {task}")
    return template


def canonical(value: Any) -> str:
    """A text that is the same for equal plain data: sets and maps are sorted, dataclasses and models are maps."""
    if isinstance(value, str | int | float | bytes | None):
        return msgspec.json.encode(value).decode()
    if isinstance(value, set | frozenset):
        return f"[{','.join(sorted(map(canonical, value)))}]"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(sorted(f'{canonical(key)}:{canonical(item)}' for key, item in value.items()))}}}"
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        return canonical({name: getattr(value, field) for name, field in names})
    if dataclasses.is_dataclass(value):
        return canonical({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    try:
        return canonical(msgspec.to_builtins(value))  # dates, UUIDs, decimals, enums
    except TypeError:
        return canonical(to_plain(value))


def ordered(value: Any) -> Any:
    """The value with its sets as sorted lists: where no annotation says that it is a set, it is encoded in this order."""
    try:
        return _ordered(value)
    except (TypeError, ValueError, RecursionError):  # it cannot be encoded, which says what is wrong
        return value


def _ordered(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(map(_ordered, value), key=canonical)
    if type(value) in (list, tuple):
        return type(value)(map(_ordered, value))
    if type(value) is dict:
        return {key: _ordered(item) for key, item in value.items()}
    return value


def _names(template: str) -> list[str]:
    return [field.path[0] for field in _fields(template) if field.path]


def _member(value: Any, name: str) -> Any:
    """`{order.shop}` and `{order[shop]}` mean the same: the order may be an object or a map."""
    if isinstance(value, Mapping):
        return value[name]
    if isinstance(value, list | tuple):
        return value[int(name)]
    return getattr(value, name)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or type(value) in (bool, int, float):
        return str(value)
    text = canonical(value)
    return msgspec.json.decode(text, type=str) if text.startswith('"') else text
