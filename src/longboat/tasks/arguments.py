"""A task's arguments <-> bytes, bound and checked against the function's signature and annotations.

On the wire, arguments are a msgpack map from parameter name to value. Positional arguments without a name (for `*args`,
or from a caller without the code) are a list under "*". They fill parameters from the left.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from longboat.core import codec
from longboat.core.constraints import Slots
from longboat.errors import BadArguments, Undecodable

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Hole:
    """In the place of an argument that is known when the job runs: the results of other jobs."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots


class Arguments:
    """The parameters of one function."""

    def __init__(self, task: str, fn: Callable[..., Any], given: Collection[str] = ()) -> None:
        """`given`: parameters that the worker fills, not the caller."""
        self._task = task
        whole = inspect.signature(fn)
        self._signature = whole.replace(parameters=[p for p in whole.parameters.values() if p.name not in given])
        self._fn = fn
        parameters = self._signature.parameters.values()
        self._names = [p.name for p in parameters if p.kind in _POSITIONAL]
        self._keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        self._positional_only = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
        self._var_positional = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._var_keyword = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self._required = sum(p.kind in _POSITIONAL and p.default is p.empty for p in parameters)
        self._simple = not (self._keyword_only or self._positional_only or self._var_positional or self._var_keyword)
        self._decoders: dict[frozenset[str], msgspec.msgpack.Decoder[Any]] = {}

    # --- the calling side

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload. Raises BadArguments, naming the task and the argument."""
        if not args and not kwargs and not self._required:
            return EMPTY if self._simple else self._encode_checked(self._bind(args, kwargs))
        if self._simple and not kwargs and self._required <= len(args) <= len(self._names):
            return self._encode_checked(dict(zip(self._names, args, strict=False)))
        return self._encode_checked(self._bind(args, kwargs))

    def encode_with_holes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bytes, dict[str, Slots]]:
        """The payload without the holes, and by parameter where its value comes from. Raises BadArguments."""
        named = self._bind(args, kwargs)
        if any(isinstance(value, Hole) for value in named.get("*", ())):
            raise BadArguments(f"task {self._task!r}: the result of another job needs a parameter with a name")
        into = {name: value.slots for name, value in named.items() if isinstance(value, Hole)}
        rest = {name: value for name, value in named.items() if name not in into}
        return self._encode_checked(rest, frozenset(into)), into

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return self._signature.parameters

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise BadArguments(f"task {self._task!r}: {error}; its parameters are {self._signature}") from None
        named = dict(bound)
        rest = named.pop(self._var_positional, ()) if self._var_positional is not None else ()
        if self._var_keyword is not None:
            named.update(named.pop(self._var_keyword, {}))
        if rest:
            named["*"] = list(rest)
        return named

    def _encode_checked(self, named: dict[str, Any], holes: frozenset[str] = frozenset()) -> bytes:
        try:
            payload = codec.encode(named)
        except codec.ENCODE_ERRORS as error:
            raise BadArguments(f"task {self._task!r}: {self._culprit(named)}{error}") from None
        try:
            self._typed(holes).decode(payload)
        except codec.DECODE_ERRORS as error:
            raise BadArguments(f"task {self._task!r}: {_worded(error)}") from None
        return payload

    def _culprit(self, named: Mapping[str, Any]) -> str:
        for name, value in named.items():
            try:
                codec.encode(value)
            except codec.ENCODE_ERRORS:
                return f"argument {name!r}: "
        return ""

    # --- both sides

    def known(self, payload: bytes, holes: Collection[str] = ()) -> dict[str, Any]:
        """Every argument by its parameter's name, as the function gets it: converted, and defaults included.

        `holes` are not known yet. Raises BadArguments.
        """
        try:
            args, kwargs = self._call(payload, frozenset(holes)) if holes else self.decode(payload)
        except (*codec.DECODE_ERRORS, Undecodable) as error:
            raise BadArguments(_worded(error)) from None
        found = dict(zip(self._names, args, strict=False)) | kwargs
        if self._var_positional is not None:
            found[self._var_positional] = args[len(self._names) :]
        return {name: value for name, value in self._defaults.items() if name not in holes} | found

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """Converted as arguments are: a default that is given has the same key as one that is left out."""
        found = {}
        for parameter in self.parameters.values():
            name, default = parameter.name, parameter.default
            if default is not parameter.empty:
                with contextlib.suppress(*codec.ENCODE_ERRORS):  # no caller can give such a value
                    payload = codec.encode({name: default})
                    found[name] = default
                    with contextlib.suppress(*codec.DECODE_ERRORS):  # it need not fit the annotation
                        found[name] = getattr(self._typed(frozenset(self.parameters)).decode(payload), name)
        return found

    # --- the running side

    def decode(self, payload: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The call's positional and keyword arguments, converted. Raises Undecodable, saying what does not fit."""
        if payload == EMPTY and not self._required:
            return [], {}
        try:
            return self._call(payload)
        except codec.DECODE_ERRORS as error:
            again = self._all_named(payload, error)
        try:
            return self._call(again)
        except codec.DECODE_ERRORS as error:
            raise Undecodable(f"task {self._task!r}: {_worded(error)}") from None

    def _call(self, payload: bytes, holes: frozenset[str] = frozenset()) -> tuple[list[Any], dict[str, Any]]:
        found = msgspec.structs.asdict(self._typed(holes).decode(payload))
        kwargs = {name: value for name, value in found.items() if value is not msgspec.UNSET}
        if self._simple:
            return [], kwargs
        args = []
        rest = kwargs.pop(_REST, [])
        for name in self._names:
            if name not in kwargs:
                break
            args.append(kwargs.pop(name))
        if self._var_keyword is not None:
            known = {*self._names, *self._keyword_only, "*"}
            extra = codec.decode(payload, dict[str, Any])
            kwargs.update({name: value for name, value in extra.items() if name not in known})
        return [*args, *rest], kwargs

    def _all_named(self, payload: bytes, error: Exception) -> bytes:
        """The payload of a call sent without the code, its positional arguments named. Raises Undecodable for others."""
        named = codec.decode(payload, dict[str, Any])
        rest = named.pop("*", None)
        missing = [name for name in self._names if name not in named]
        if not isinstance(rest, list) or not missing:
            raise Undecodable(f"task {self._task!r}: {_worded(error)}") from None
        named.update(zip(missing, rest, strict=False))
        if rest[len(missing) :]:
            named["*"] = rest[len(missing) :]
        return codec.encode(named)

    # --- types

    def _typed(self, holes: frozenset[str] = frozenset()) -> msgspec.msgpack.Decoder[Any]:
        """The decoder, made at first use: annotations may name what is defined below the task. `holes` may be missing."""
        decoder = self._decoders.get(holes)
        if decoder is None:
            hints = _hints(self._fn)
            fields: list[Any] = []
            for parameter in self._signature.parameters.values():
                kind = decodable(hints.get(parameter.name, Any))
                if parameter.kind is parameter.VAR_POSITIONAL:
                    field = msgspec.field(default=msgspec.UNSET, name="*")
                    fields.append((_REST, typing.Union[types.GenericAlias(list, (kind,)), msgspec.UnsetType], field))  # noqa: UP007
                elif parameter.kind is parameter.VAR_KEYWORD:
                    continue
                elif parameter.default is parameter.empty and parameter.name not in holes:
                    fields.append((parameter.name, kind))
                else:
                    fields.append((parameter.name, typing.Union[kind, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007
            made = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=self._var_keyword is None)
            decoder = self._decoders[holes] = codec.decoder(made)
        return decoder


class UnknownArguments(Arguments):
    """Those of a task whose code is not here: anything that can be serialised."""

    def _typed(self, holes: frozenset[str] = frozenset()) -> msgspec.msgpack.Decoder[Any]:  # noqa: ARG002
        return _ANYTHING

    def known(self, payload: bytes, holes: Collection[str] = ()) -> dict[str, Any]:  # noqa: ARG002
        found: dict[str, Any] = codec.decode(payload, dict[str, Any])
        return found


_REST = "rest_"
_ANYTHING = codec.decoder(Any)
EMPTY = codec.encode({})


def return_kind(fn: Callable[..., Any]) -> Any:
    """What the function's return annotation names; Any where it names nothing that is known here."""
    return _hints(fn).get("return", Any)


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(fn)
    except Exception:  # an annotation that exists for the type checker only
        return {}


def decodable(kind: Any) -> Any:
    """The annotation, or Any where msgspec cannot tell its alternatives apart."""
    try:
        codec.decoder(kind)
        codec.decoder(typing.Union[kind, msgspec.UnsetType])  # noqa: UP007
    except Exception:
        return Any
    return kind


def _worded(error: Exception) -> str:
    """The error's text. msgspec names the place as `$.argument.field`; people read argument 'argument.field'."""
    text = str(error)
    found = re.search(r" - at `\$\.([^`]*)`$", text)
    return f"argument {found[1]!r}: {text[: found.start()]}" if found else text
