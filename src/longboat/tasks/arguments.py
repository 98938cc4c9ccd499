"""A task's arguments <-> bytes, bound and checked against the function's signature and annotations.

On the wire, arguments are a msgpack map from parameter name to value. Those that were passed by position come first, in
their order; then, under "*", a list of the positional ones without a name (for `*args`, or from a caller without the code),
which may be empty; then those that were passed by name. What was passed by position finds its place by that, if no parameter
has its name any more. Of a function with `**kwargs`, positional-only parameters are written as "/name".
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
from longboat.errors import BadArguments, ConfigError, Undecodable
from longboat.tasks.kinds import Kind, Missing, changed, hints, kind_of, same, signature_of, tell_unchecked
from longboat.tasks.template import meant_for_using

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Hole:
    """In the place of an argument that is known when the job runs: the results of other jobs."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots


class Misfit(Undecodable):
    """Arguments for other parameters than the function has here: perhaps they fit another version of it."""


class Arguments:
    """The parameters of one function."""

    def __init__(self, task: str, fn: Callable[..., Any], given: Collection[str] = ()) -> None:
        """`given`: parameters that the worker fills, not the caller. Raises ConfigError for a parameter whose values could
        arrive changed."""
        self._task = task
        whole = signature_of(fn)
        self._signature = whole.replace(parameters=[p for p in whole.parameters.values() if p.name not in given])
        self._fn = fn
        parameters = self._signature.parameters.values()
        self._var_positional = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._var_keyword = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self._stored = {
            p.name: f"/{p.name}" if p.kind is p.POSITIONAL_ONLY and self._var_keyword else p.name
            for p in parameters
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
        """What the parameters are called on the wire."""
        self._names = [p.name for p in parameters if p.kind in _POSITIONAL]
        self._required = sum(p.kind in _POSITIONAL and p.default is p.empty for p in parameters)
        self._simple = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        self._decoders: dict[frozenset[str], msgspec.msgpack.Decoder[Any]] = {}
        self._usual: msgspec.msgpack.Decoder[Any] | None = None
        """The decoder without holes, once there is one."""
        self._kinds: dict[str, Kind] = {}
        """Of the parameters whose annotation could be evaluated so far."""
        self._judge()
        self._sure = False
        """Whether all that is accepted arrives equal. Known once there is a decoder."""

    # --- the calling side

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload. Raises BadArguments, naming the task and the argument."""
        if not args and not kwargs and not self._required:
            return EMPTY if self._simple else self._encode_checked(self._bind(args, kwargs))
        if self._simple and not kwargs and self._required <= len(args) <= len(self._names):
            named = dict(zip(self._names, args, strict=False))
            named["*"] = ()
            return self._encode_checked(named)
        return self._encode_checked(self._bind(args, kwargs))

    def encode_with_holes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bytes, dict[str, Slots]]:
        """The payload without the holes, and by parameter where its value comes from. Raises BadArguments."""
        named = self._bind(args, kwargs)
        if any(isinstance(value, Hole) for value in named.get("*", ())):
            raise BadArguments(f"task {self._task!r}: the result of another job needs a parameter with a name")
        into = {name: value.slots for name, value in named.items() if isinstance(value, Hole)}
        named.update(dict.fromkeys(into))  # they keep their places
        return self._encode_checked(named, frozenset(into)), into

    def rows(self, width: int) -> msgspec.msgpack.Decoder[list[tuple[Any, ...]]] | None:
        """Reads many calls with so many arguments by position that were written together, as rows of their values. None
        where each call must be encoded by itself: a row that it accepts arrives equal."""
        self._typed()
        if not self._simple or not self._sure or not self._required <= width <= len(self._names):
            return None
        row = types.GenericAlias(tuple, tuple(self._kind(name).wire for name in self._names[:width]))
        return codec.decoder(types.GenericAlias(list, (row,)))

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return self._signature.parameters

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            meant = meant_for_using(kwargs.keys() - self.parameters.keys())
            raise BadArguments(f"task {self._task!r}: {error}; its parameters are {self._signature}{meant}") from None
        rest = bound.pop(self._var_positional, ()) if self._var_positional is not None else ()
        extra = bound.pop(self._var_keyword, {}) if self._var_keyword is not None else {}
        items = [(self._stored[name], value) for name, value in bound.items()]
        by_position = [*items[: len(args)], ("*", list(rest))] if args else []
        return {**dict(by_position), **dict(items[len(args) :]), **extra}

    def _encode_checked(self, named: dict[str, Any], holes: frozenset[str] = frozenset()) -> bytes:
        decoder = self._usual if self._usual is not None and not holes else self._typed(holes)
        try:
            payload = codec.encode(named if self._sure else codec.plain(named))
        except codec.ENCODE_ERRORS as error:
            raise BadArguments(f"task {self._task!r}: {self._culprit(named)}{error}") from None
        try:
            arrived = decoder.decode(payload)
            if not self._sure:
                self._compare(named, arrived, payload, holes)
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

    def _compare(self, named: dict[str, Any], arrived: Any, payload: bytes, holes: frozenset[str]) -> None:
        """Raises TypeError if an argument would arrive as another value than it is."""
        will = {self._stored.get(name, "*"): getattr(arrived, name) for name in arrived.__struct_fields__}
        if self._var_keyword is not None:
            will.update(self._extra(payload, holes))
        for name, value in named.items():
            if name not in holes and not same(value, will[name]):
                raise TypeError(f"argument {name!r}: {changed(value, will[name])}")

    # --- both sides

    def known(self, payload: bytes, holes: Collection[str] = ()) -> dict[str, Any]:
        """Every argument by its parameter's name, as the function gets it: converted, and defaults included.

        `holes` are not known yet. Raises BadArguments.
        """
        try:
            args, kwargs = self._call(payload, frozenset(holes)) if holes else self.decode(payload)
        except (*codec.DECODE_ERRORS, Undecodable) as error:
            raise BadArguments(_worded(error)) from None
        found = dict(zip(self._names, args, strict=False))
        for name, value in kwargs.items():  # one of **kwargs may have the name of a positional-only parameter
            found[f"**{name}" if name in found else name] = value
        if self._var_positional is not None:
            found[self._var_positional] = args[len(self._names) :]
        known = self._defaults | found
        return {name: value for name, value in known.items() if self._stored.get(name, name) not in holes}

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """Converted as arguments are: a default that is given has the same key as one that is left out."""
        found = {}
        for parameter in self.parameters.values():
            name, default = parameter.name, parameter.default
            if default is not parameter.empty:
                with contextlib.suppress(*codec.ENCODE_ERRORS):  # no caller can give such a value
                    plain = codec.encode(codec.plain(default))
                    found[name] = default
                    with contextlib.suppress(*codec.DECODE_ERRORS):  # it need not fit the annotation
                        found[name] = codec.decode(plain, self._kind(name).wire)
        return found

    # --- the running side

    def decode(self, payload: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The call's positional and keyword arguments, converted. Raises Misfit for those of other parameters, and
        Undecodable for what cannot be read or converted."""
        if payload == EMPTY and not self._required:
            return [], {}
        try:
            return self._call(payload)
        except codec.DECODE_ERRORS:
            again = self._moved(payload)
        try:
            return self._call(again)
        except codec.DECODE_ERRORS as error:
            wrong = Undecodable if self._binds(again) else Misfit
            raise wrong(f"task {self._task!r}: {_worded(error)}") from None

    def _call(self, payload: bytes, holes: frozenset[str] = frozenset()) -> tuple[list[Any], dict[str, Any]]:
        decoder = self._usual if self._usual is not None and not holes else self._typed(holes)
        found = msgspec.structs.asdict(decoder.decode(payload))
        rest = found.pop(_REST)
        kwargs = {name: value for name, value in found.items() if value is not msgspec.UNSET}
        if self._simple:
            return [], kwargs
        args = []
        for name in self._names:
            if name not in kwargs:
                break
            args.append(kwargs.pop(name))
        if self._var_keyword is not None:
            kwargs.update(self._extra(payload, holes))
        return [*args, *rest], kwargs

    def _extra(self, payload: bytes, holes: frozenset[str]) -> dict[str, Any]:
        """What `**kwargs` takes, converted."""
        known = {*self._stored.values(), *holes, "*"}
        every = codec.decode(payload, dict[str, msgspec.Raw])
        extra = {name: value for name, value in every.items() if name not in known}
        kind = self._kind(self._var_keyword or "")
        whole = kind.wire if kind.whole else types.GenericAlias(dict, (str, kind.wire))
        found: dict[str, Any] = codec.decode(codec.encode(extra), whole)
        return found

    def _binds(self, payload: bytes) -> bool:
        """Whether the parameters have a place for each argument, and there is one for each that is needed."""
        try:
            self._typed(frozenset(self._stored.values())).decode(payload)
        except codec.DECODE_ERRORS:
            return False
        given = _every(payload, self._task)
        return all(
            stored in given or self.parameters[name].default is not inspect.Parameter.empty
            for name, stored in self._stored.items()
        )

    def _moved(self, payload: bytes) -> bytes:
        """The payload with what was passed by position where it belongs now: parameters may have other names than when the
        call was made, or it was made without the code."""
        named = _every(payload, self._task)
        by_position = list(named)[: list(named).index("*")] if "*" in named else []
        unnamed = msgspec.msgpack.decode(named.pop("*", b"\x90"), type=list[msgspec.Raw])
        names = [self._stored[name] for name in self._names]
        known = {name: named.pop(name) for name in self._stored.values() if name in named}
        for old, new in zip(by_position, names, strict=False):
            if old in named and new not in known:
                known[new] = named.pop(old)
        free = [name for name in names if name not in known]
        known.update(zip(free, unnamed, strict=False))
        return codec.encode({**known, "*": unnamed[len(free) :], **named})

    # --- types

    def _judge(self) -> None:
        """Decide how the values of each parameter travel, for those that are not decided yet."""
        found = hints(self._fn)
        for name, parameter in self.parameters.items():
            annotation = found.get(name, Any)
            if name in self._kinds or isinstance(annotation, Missing):
                continue
            try:
                self._kinds[name] = kind_of(annotation, sent=parameter.default is parameter.empty)
            except NameError:  # defined further down
                continue
            except ConfigError as error:
                raise ConfigError(f"task {self._task!r}: parameter {name!r}: {error}") from None

    def _kind(self, name: str) -> Kind:
        return self._kinds.get(name) or Kind()

    def _typed(self, holes: frozenset[str] = frozenset()) -> msgspec.msgpack.Decoder[Any]:
        """The decoder, made at first use: annotations may name what is defined below the task. `holes` may be anything."""
        decoder = self._decoders.get(holes)
        if decoder is None:
            if not self._decoders:
                self._settle()
            decoder = self._decoders[holes] = codec.decoder(self._struct(holes))
            if not holes:
                self._usual = decoder
        return decoder

    def _settle(self) -> None:
        """Decide what is not decided yet. What cannot be evaluated even now is said, and not checked."""
        self._judge()
        for name in self.parameters.keys() - self._kinds.keys():
            tell_unchecked(self._task, f"parameter {name!r}")
        self._sure = all(self._kind(name).sure for name in self.parameters)

    def _struct(self, holes: frozenset[str]) -> type[msgspec.Struct]:
        rest: Any = tuple[()]
        if self._var_positional is not None:
            each = self._kind(self._var_positional)
            rest = each.wire if each.whole else types.GenericAlias(list, (each.wire,))
        fields: list[Any] = [(_REST, rest, msgspec.field(default_factory=tuple, name="*"))]
        for name, stored in self._stored.items():
            default: Any = msgspec.NODEFAULT
            kind: Any = Any if stored in holes else self._kind(name).wire
            if stored in holes or self.parameters[name].default is not inspect.Parameter.empty:
                kind, default = typing.Union[kind, msgspec.UnsetType], msgspec.UNSET  # noqa: UP007  # it is no type yet
            fields.append((name, kind, msgspec.field(default=default, name=stored)))
        return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=self._var_keyword is None)


class UnknownArguments(Arguments):
    """Those of a task whose code is not here: anything that can be serialised."""

    def _encode_checked(self, named: dict[str, Any], holes: frozenset[str] = frozenset()) -> bytes:  # noqa: ARG002  # as its protocol has it
        try:
            return codec.encode(codec.plain(named))
        except codec.ENCODE_ERRORS as error:
            raise BadArguments(f"task {self._task!r}: {self._culprit(named)}{error}") from None


_REST = "longboat_rest"
EMPTY = codec.encode({})


def _every(payload: bytes, task: str) -> dict[str, Any]:
    """The arguments by name, undecoded. Raises Undecodable for bytes that are no arguments."""
    try:
        codec.decode(payload)  # also what is deep within
        named: dict[str, Any] = codec.decode(payload, dict[str, msgspec.Raw])
        msgspec.msgpack.decode(named.get("*", b"\x90"), type=list[Any])
    except codec.DECODE_ERRORS as error:
        raise Undecodable(f"task {task!r}: the arguments cannot be read: {error}") from None
    return named


def _worded(error: Exception) -> str:
    """The error's text. msgspec names the place as `$.argument.field`; people read argument 'argument.field'."""
    text = str(error)
    found = re.search(r" - at `\$\.([^`]*)`$", text)
    return f"argument {found[1]!r}: {text[: found.start()]}" if found else text
