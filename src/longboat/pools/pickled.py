"""Calls as pickles: only between an executor that was told so and the processes that may run them.

Those are child processes of its own, by a file of its own, or workers that have the same key (signed.py). Nothing else
imports this. Whoever can write what is read here can run code.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from longboat.errors import ConfigError, Stopped
from longboat.pools.frames import BIG, Bundle, bundle, unbundled
from longboat.pools.raised import Raised, again, told
from longboat.pools.way import Call, Packed, Setup, SetupFailed, broken, import_main, main, prepare, values_of

try:
    from cloudpickle import dumps  # type: ignore[import-not-found, import-untyped, unused-ignore]  # it need not be there
except ImportError:
    dumps = pickle.dumps

REFUSED = (pickle.PicklingError, TypeError, AttributeError, RecursionError, NotImplementedError)
"""What pickling raises for what cannot be pickled; whatever else it raises is of the object's own."""


class Calls(msgspec.Struct, array_like=True):
    main: str
    made: Bundle
    """The function and the calls."""
    folder: str = ""
    """Where big results go; empty: nowhere, they must fit a message."""
    setup: bytes = b""
    """The initializer, if there is one."""


class SetupCalls(msgspec.Struct, array_like=True):
    main: str
    made: Bundle
    token: bytes
    """What tells one executor's from another's."""


class Answer(msgspec.Struct, array_like=True):
    made: Bundle | None = None
    """The list of the values; the exception itself, where one was raised and it can be pickled."""
    raised: Raised | None = None
    broken: bool = False
    """It was the initializer that raised it."""


_encode = msgspec.msgpack.Encoder().encode


class Pickled:
    """The way of an executor with `pickle=True`."""

    def __init__(self, folder: str = "", setup: Setup | None = None) -> None:
        """`folder`: for big ones. Raises as `packed` does."""
        self._folder = folder
        self._setup = b""
        if setup is not None:
            made = self._bundle(setup.initializer, (setup.initializer, [(setup.initargs, {})]))
            self._setup = _encode(SetupCalls(main(), made, os.urandom(8)))

    def packed(self, fn: Callable[..., Any], calls: Sequence[Call]) -> Packed:
        """Raises ConfigError for what cannot be pickled."""
        made = self._bundle(fn, (fn, list(calls)))
        data = _encode(Calls(main(), made, self._folder, self._setup))
        return Packed(data, [made.pickled, *made.buffers], Any, made.drop if made.file else None)

    def opened(self, answer: bytes, packed: Packed) -> list[Any]:  # noqa: ARG002  # pickles know their kinds
        """Raises also what unpickling raises."""
        read = msgspec.msgpack.decode(answer, type=Answer)
        try:
            whole: Any = None if read.made is None else unbundled(read.made, pickle.loads)
        finally:
            if read.made is not None:
                read.made.drop()  # where it is mapped, it stays
        if read.raised is None:
            values: list[Any] = whole
            return values
        error = again(read.raised)
        if read.broken:
            raise broken(read.raised)
        if not isinstance(whole, BaseException):
            raise error
        whole.__cause__ = error.__cause__ or error
        raise whole

    def _bundle(self, fn: Any, value: Any) -> Bundle:
        try:
            return bundle(value, dumps, self._folder)
        except REFUSED as error:
            how = " Lambdas and closures can: pip install 'longboat[pickle]'." if dumps is pickle.dumps else ""
            raise ConfigError(f"a call of {fn!r} cannot be pickled: {type(error).__name__}: {error}.{how}") from error


# --- the process that runs the calls


def run(calls: bytes) -> bytes:
    """As that of plain calls."""
    read = msgspec.msgpack.decode(calls, type=Calls)
    try:
        prepare(read.setup, lambda: _prepare(read.setup))
        return _encode(Answer(bundle(_values(read.main, read.made), dumps, read.folder)))
    except Stopped:
        raise
    except SetupFailed as failed:
        return _encode(Answer(raised=told(failed.__cause__ or failed), broken=True))
    except BaseException as error:  # as there
        return _encode(Answer(_whole(error, read.folder), told(error)))


def _prepare(setup: bytes) -> None:
    read = msgspec.msgpack.decode(setup, type=SetupCalls)
    _values(read.main, read.made)


def _values(main: str, made: Bundle) -> list[Any]:
    import_main(main)
    fn, calls = unbundled(made, pickle.loads)
    return values_of(fn, calls)


def _whole(error: BaseException, folder: str) -> Bundle | None:
    """None if it cannot be pickled, or not be made again, or is too large for a message."""
    try:
        data: bytes = dumps(error)
        if type(pickle.loads(data)) is not type(error) or (len(data) > BIG and not folder):
            return None
        return bundle(error, dumps, folder)
    except Exception:  # of anybody's code
        return None
