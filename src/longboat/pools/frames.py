"""Big pickles in files: the pickle and its buffers (arrays, for one) lie in a file of their own, and are mapped where they
are read. Small ones stay in the message.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

BIG = 100_000
"""Bytes beyond which a pickle goes to a file, where there is a folder for it."""
ALIGN = 64
"""Each part begins at a multiple of this, as processors and numpy like it."""

Dumps = Callable[..., bytes]
"""That of pickle, or cloudpickle's."""


class Bundle(msgspec.Struct, array_like=True):
    """An object on its way."""

    pickled: bytes = b""
    buffers: list[bytes] = []
    file: str = ""
    """Where the two are instead."""

    def drop(self) -> None:
        """Remove the file: nobody reads it any more."""
        if self.file and os.path.exists(self.file):
            os.unlink(self.file)


def bundle(value: Any, dumps: Dumps, folder: str) -> Bundle:
    """Raises what pickling raises. Without a folder everything is in the message."""
    buffers: list[Any] = []  # of pickle.PickleBuffer
    pickled = dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [buffer.raw() for buffer in buffers]
    if folder and len(pickled) + sum(part.nbytes for part in parts) > BIG:
        return Bundle(file=_written([memoryview(pickled), *parts], folder))
    return Bundle(pickled, [bytes(part) for part in parts])


def unbundled(made: Bundle, loads: Callable[..., Any]) -> Any:
    """The object; its buffers can be written to, and belong to it alone. Raises what unpickling raises."""
    if made.file:
        pickled, *buffers = _mapped(made.file)
        return loads(pickled, buffers=buffers)
    return loads(made.pickled, buffers=[bytearray(buffer) for buffer in made.buffers])


def _written(parts: Sequence[memoryview], folder: str) -> str:
    handle, path = tempfile.mkstemp(dir=folder, prefix="big-")
    head = struct.pack(f"<I{len(parts)}Q", len(parts), *(part.nbytes for part in parts))
    with open(handle, "wb", buffering=0) as file:
        at = 0
        for part in (memoryview(head), *parts):
            file.write(b"\0" * (-at % ALIGN))
            at += -at % ALIGN + part.nbytes
            while part:  # one write takes 2 GiB at most
                part = part[file.write(part) :]
    return path


def _mapped(path: str) -> list[memoryview]:
    with open(path, "rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    (count,) = struct.unpack_from("<I", whole)
    at, parts = 4 + 8 * count, []
    for size in struct.unpack_from(f"<{count}Q", whole, 4):
        at += -at % ALIGN
        parts.append(whole[at : at + size])
        at += size
    return parts
