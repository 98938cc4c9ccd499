"""What a worker and its child processes tell each other: frames of msgpack on a socket, three words in shared memory.

Each child numbers its calls 1, 2, … (`seq`), and runs them in that order. Shared memory tells what a message cannot:
what ran when the child died, and what it must not begin any more.
"""

from __future__ import annotations

import struct

import msgspec

from longboat.core.job import Failure
from longboat.executors.contract import CallEnd

WORDS = "Q", 4
STARTED = 0
"""Written by the child before it begins a call: its seq. If the child dies, the call to blame is the one whose seq is here
and that has no answer."""
RECALLED = 1
"""Written by the parent: no call up to this seq begins any more. The child reads it after it has written STARTED, so that
at least one of the two sees what the other wrote. If both do, the child answers UNSTARTED to what it leaves out."""
STOP = 2
"""Written by the parent: the seq that SIGUSR1 is for."""
STACK = 3
"""Written by the child: the descriptor of the file in memory to which SIGUSR2 writes its stack. 0: there is none."""

HEADER = struct.Struct("<I")


class ChildSettings(msgspec.Struct, frozen=True):
    """What a child process is started with."""

    max_memory: int | None = None
    """Bytes beyond which it is replaced after a call."""
    modules: tuple[str, ...] = ()
    """What the worker imported, in that order: imported before a task is looked for."""
    log_level: int = 30
    """The level of the worker's root logger: that of the child's, unless what it imports sets up logging."""
    directory: str = ""
    """Where the worker was started: there the child imports, whatever directory a task has changed to. Relative URLs of
    apps then name the same file in both."""
    worker: str = ""
    """The worker's name."""
    max_calls: int | None = None
    """Calls after which it is replaced."""


class Definition(msgspec.Struct, array_like=True):
    """A task, told to a child once; calls name it by `index`."""

    index: int
    name: str
    module: str
    qualname: str
    retry_on: list[tuple[str, str]]
    """Module and qualified name of each exception class."""


class ChildCall(msgspec.Struct, array_like=True):
    seq: int
    task: int
    id: str
    queue: str
    attempt: int
    payload: bytes
    headers: dict[str, str] = {}


class CallBatch(msgspec.Struct, array_like=True):
    definitions: list[Definition]
    calls: list[ChildCall]


class Answer(msgspec.Struct, array_like=True):
    """A reply. With seq 0: the child is ready. With no ending: its function was found only now, and begins."""

    seq: int
    ending: CallEnd | None = None
    result: bytes = b""
    failure: Failure | None = None
    again: bool = True
    leaving: bool = False
    """The child exits after this one."""


_encoder = msgspec.msgpack.Encoder()


def frame(message: msgspec.Struct) -> bytes:
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body
