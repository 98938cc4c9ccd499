"""Values <-> bytes: job messages, arguments and results as msgpack, with what msgspec knows and paths and pydantic models.

Plain data only: nothing decoded here can run code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from longboat.core import models, reasons
from longboat.core.bounds import LONGEST, LONGEST_NAME, MESSAGE_LIMIT, MOST
from longboat.core.job import MESSAGE_VERSION, Failure, Job
from longboat.errors import ConfigError, TooLarge, Undecodable

T = TypeVar("T")

ENCODE_ERRORS = (TypeError, ValueError, OverflowError)
"""What `encode` raises for a value that cannot be serialised."""
DECODE_ERRORS = (msgspec.MsgspecError, TypeError, ValueError, RecursionError)
"""What a decoder raises for bytes that do not fit."""


def to_plain(value: Any) -> Any:
    """The enc_hook: plain data for what msgspec does not know. Raises TypeError."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, str):  # of a class of its own, such as an app's URL, which shows itself masked
        return "".join(value)
    if type(value).__module__.startswith("numpy") and hasattr(value, "tolist") and getattr(value, "ndim", 1) == 0:
        return value.tolist()  # a numpy scalar, as sums over arrays give
    return models.plain(value)


def from_plain(kind: Any, value: Any) -> Any:
    """The dec_hook: types that msgspec does not know, made from plain data. Raises TypeError or ValueError."""
    if isinstance(kind, models.Adapted):
        return kind.read(value)
    if kind is object:
        return value
    if isinstance(kind, type) and issubclass(kind, PurePath):
        if not isinstance(value, str):
            raise TypeError(f"Expected `str` for a path, got `{type(value).__name__}`")
        return kind(value)
    if models.is_own(kind):
        return models.reader(kind)(value)
    raise TypeError(f"values of type {getattr(kind, '__qualname__', kind)} cannot be made from plain data")


_values = msgspec.msgpack.Encoder(enc_hook=to_plain)
_plain = msgspec.msgpack.Encoder()
_message = msgspec.msgpack.Decoder(Job)
_failures = msgspec.msgpack.Decoder(list[Failure])

_BUILTIN = (bytes, bytearray, memoryview)

NONE = _values.encode(None)


def encode(value: Any) -> bytes:
    """A value as bytes. Raises TypeError, ValueError or OverflowError, saying what cannot be serialised."""
    if value is None:
        return NONE
    try:
        return _values.encode(value)
    except RecursionError:
        raise ValueError("the value is nested too deeply, or contains itself") from None


def plain(value: Any) -> Any:
    """The value as the plain data that `encode` writes for it, except that datetimes keep their offset from UTC: as text.

    Raises as `encode` does.
    """
    try:
        return msgspec.to_builtins(value, builtin_types=_BUILTIN, enc_hook=to_plain)
    except RecursionError:
        raise ValueError("the value is nested too deeply, or contains itself") from None


def decode(data: bytes, kind: Any = Any) -> Any:
    """The value, converted to `kind`. Raises Undecodable, saying where it does not fit."""
    try:
        return decoder(kind).decode(data)
    except DECODE_ERRORS as error:
        raise Undecodable(str(error)) from None


def decoded(data: bytes | None, kind: type[T]) -> T | None:
    """The value; None where there is none, or it is broken or from another version: nothing may fail because of it."""
    try:
        return None if data is None else msgspec.msgpack.decode(data, type=kind)
    except DECODE_ERRORS:
        return None


def decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """A decoder for values of `kind`. Keep it where you decode often."""
    return msgspec.msgpack.Decoder(kind, dec_hook=from_plain)


def encode_job(job: Job) -> bytes:
    """The message a broker stores. Raises TooLarge or ConfigError for a job that could not be decoded (bounds.py)."""
    try:
        message = _plain.encode(job)
        if (  # nearly all; the others are decoded, which costs three times as much
            job.expires is None
            and job.constraints is None
            and 0.0 <= job.delay <= LONGEST
            and 0.0 <= job.keep <= LONGEST
            and 0.0 <= job.enqueued <= LONGEST
            and -MOST <= job.priority <= MOST
            and len(message) - LONGEST_NAME <= len(job.payload) <= MESSAGE_LIMIT
        ):
            return message
        if len(job.payload) > MESSAGE_LIMIT:
            raise too_large(job)
        _message.decode(message)
    except (*DECODE_ERRORS, OverflowError) as error:
        said = re.sub(r"`\$\[(\d+)\]", lambda found: f"`{Job.__struct_fields__[int(found[1])]}", str(error))
        raise ConfigError(f"job {job.id!r:.300} of task {job.task!r:.300} cannot be stored: {said}") from None
    return message


def too_large(job: Job) -> TooLarge:
    return TooLarge(
        f"task {job.task!r:.300}: the arguments are {len(job.payload):,} bytes, the limit is {MESSAGE_LIMIT:,}. "
        "Put big data in a file or a store and pass its path."
    )


def decode_job(data: bytes) -> Job:
    """The job in a message. Raises Undecodable for anything else, and for versions not known here."""
    try:
        job = _message.decode(data)
    except DECODE_ERRORS as error:
        raise Undecodable(f"not a job message: {error}") from None
    if job.v != MESSAGE_VERSION:
        raise Undecodable(f"message version {job.v} is not known here (this Longboat writes {MESSAGE_VERSION})")
    return job


def encode_failures(failures: Sequence[Failure]) -> bytes:
    return _plain.encode(failures)


def decode_failures(data: bytes | None) -> list[Failure]:
    """The failures kept with a job. Unreadable ones become one failure that says so."""
    if not data:
        return []
    try:
        return _failures.decode(data)
    except DECODE_ERRORS as error:
        return [reasons.undecodable(f"the recorded failures cannot be read: {error}", 0.0)]
