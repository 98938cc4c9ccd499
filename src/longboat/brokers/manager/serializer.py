"""The registered serialiser: plain data as msgpack, and errors by name. Decoding runs no code."""

from __future__ import annotations

from queue import Empty, Full
from typing import Any

import msgspec

from longboat import errors
from longboat.errors import BrokerError

_ERROR = 1
"""The extension type of an error: its class's name and its text."""
_OTHERS = (AttributeError, KeyError, LookupError, OverflowError, TypeError, ValueError, Empty, Full)
_NAMED: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), *_OTHERS)
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not errors.JobFailed  # it has no text alone
}


def dumps(value: Any) -> bytes:
    """Raises TypeError for anything but plain data."""
    return _encoder.encode(value)


def loads(data: bytes) -> Any:
    """Raises ValueError (msgspec.DecodeError) for other bytes."""
    return _decoder.decode(data)


def _pack(value: Any) -> Any:
    if isinstance(value, Exception):
        text = str(value.args[0]) if len(value.args) == 1 else str(value)
        return msgspec.msgpack.Ext(_ERROR, msgspec.msgpack.encode((type(value).__name__, text)))
    raise TypeError(f"a value of type {type(value).__qualname__} is not plain data and is not sent")


def _unpack(code: int, data: memoryview) -> Any:
    if code != _ERROR:
        raise ValueError(f"unknown extension {code}")
    name, text = msgspec.msgpack.decode(data, type=tuple[str, str])
    return _NAMED[name](text) if name in _NAMED else BrokerError(f"{name}: {text}")


_encoder = msgspec.msgpack.Encoder(enc_hook=_pack)
_decoder = msgspec.msgpack.Decoder(ext_hook=_unpack)
