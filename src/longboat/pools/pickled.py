"""Calls as pickles: only between an executor that was told so and the child processes of its own, by a file of its own.

Nothing else imports this. Whoever can write what is read here can run code.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from longboat.errors import ConfigError, Stopped
from longboat.pools.calls import Call, Way, import_main, main, value_of
from longboat.pools.raised import Raised, again, told

try:
    from cloudpickle import dumps  # type: ignore[import-not-found, import-untyped, unused-ignore]  # it need not be there
except ImportError:
    dumps = pickle.dumps


class Calls(msgspec.Struct, array_like=True):
    main: str
    pickled: bytes
    """The function and the calls."""


class Answer(msgspec.Struct, array_like=True):
    pickled: bytes = b""
    """The list of the values; the exception itself, where one was raised and it can be pickled."""
    raised: Raised | None = None


_encode = msgspec.msgpack.Encoder().encode


def packed(fn: Callable[..., Any], calls: Sequence[Call]) -> tuple[bytes, Any]:
    """As that of plain calls, for any function and any arguments. Raises ConfigError for what cannot be pickled."""
    try:
        return _encode(Calls(main(), dumps((fn, list(calls))))), Any
    except Exception as error:  # pickling calls anybody's code
        how = " Lambdas and closures can: pip install 'longboat[pickle]'." if dumps is pickle.dumps else ""
        raise ConfigError(f"a call of {fn!r} cannot be pickled: {type(error).__name__}: {error}.{how}") from error


def opened(answer: bytes, _: Any) -> list[Any]:
    """The values of the calls. Raises what one of them raised, and what unpickling raises."""
    read = msgspec.msgpack.decode(answer, type=Answer)
    if read.raised is None:
        values: list[Any] = pickle.loads(read.pickled)
        return values
    error = again(read.raised)
    if not read.pickled:
        raise error
    whole: BaseException = pickle.loads(read.pickled)
    whole.__cause__ = error.__cause__ or error
    raise whole


def run(calls: bytes) -> bytes:
    """As that of plain calls."""
    read = msgspec.msgpack.decode(calls, type=Calls)
    try:
        import_main(read.main)
        fn, made = pickle.loads(read.pickled)
        return _encode(Answer(dumps([value_of(fn, args, kwargs) for args, kwargs in made])))
    except Stopped:
        raise
    except BaseException as error:  # as there
        return _encode(Answer(_whole(error), told(error)))


def _whole(error: BaseException) -> bytes:
    """Empty if it cannot be pickled, or not be made again."""
    try:
        data: bytes = dumps(error)
        return data if type(pickle.loads(data)) is type(error) else b""
    except Exception:  # of anybody's code
        return b""


PICKLED = Way(packed, opened, run)
