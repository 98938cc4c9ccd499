"""The job channel of jobs in child processes: a second socket for each child, for progress, log lines and steps."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from longboat.errors import BrokerError
from longboat.executors.base import watched
from longboat.executors.contract import Owner
from longboat.executors.joblogs import Passed, tell
from longboat.executors.wire import HEADER, frame
from longboat.tasks.current import JobChannel
from longboat.tasks.handle import LogLine, Progress


class Said(msgspec.Struct, array_like=True):
    """From the child. A step and the questions are answered by a Told; the rest is not."""

    id: str
    progress: Progress | None = None
    log: LogLine | None = None
    step: tuple[str, bytes] | None = None
    """Keep this one."""
    steps: bool = False
    """Which have finished?"""
    record: Passed | None = None
    """Of `logging`, for the worker's own log."""
    heard: bool = False
    """Has all that was said before this been passed on?"""


class Told(msgspec.Struct, array_like=True):
    steps: dict[str, bytes] = {}
    error: str = ""


PATIENCE = 5.0
"""Seconds that a child may take to finish a message: a child stopped in the middle of one must not hold up the others."""

_said = msgspec.msgpack.Decoder(Said)
_told = msgspec.msgpack.Decoder(Told)


class SocketJobChannel:
    """The child's end. `undisturbed` keeps a signal from breaking into an exchange."""

    def __init__(self, sock: socket.socket, worker: str, undisturbed: Callable[[], AbstractContextManager[None]]) -> None:
        self.worker = worker
        self._sock = sock
        self._undisturbed = undisturbed
        self._lock = threading.RLock()
        self._progressed = False

    def progress(self, job_id: str, progress: Progress) -> None:
        self._progressed = True
        self._say(Said(job_id, progress))

    def log(self, job_id: str, line: LogLine) -> None:
        self._say(Said(job_id, log=line))

    def record(self, passed: Passed) -> None:
        self._say(Said("", record=passed))

    def steps(self, job_id: str) -> dict[str, bytes]:
        return self._ask(Said(job_id, steps=True)).steps

    def finish(self, job_id: str, step: str, result: bytes) -> None:
        self._ask(Said(job_id, step=(step, result)))

    def passed_on(self) -> None:
        """Return once the worker has the progress that was reported; at once if there is none. Before a call's answer."""
        if self._progressed:
            self._progressed = False
            with contextlib.suppress(BrokerError):
                self._ask(Said("", heard=True))

    def _say(self, said: Said) -> None:
        with contextlib.suppress(OSError), self._undisturbed(), self._lock:
            self._sock.sendall(frame(said))

    def _ask(self, said: Said) -> Told:
        with self._undisturbed(), self._lock:
            try:
                self._sock.sendall(frame(said))
                told = _told.decode(_receive(self._sock))
            except (OSError, EOFError) as error:
                raise BrokerError(f"the worker does not answer: {error}") from None
        if told.error:
            raise BrokerError(told.error)
        return told


class JobChannels:
    """The worker's end of all of them: a thread that reads from the children, and passes on what they say and ask."""

    def __init__(self, job_channel: JobChannel, owner: Owner) -> None:
        self._job_channel = job_channel
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._thread = watched("job-channels", self._run, owner.failed)

    def connect(self) -> socket.socket:
        """The end for a new child."""
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        with self._lock:
            self._selector.register(ours, selectors.EVENT_READ)
            if self._thread.ident is None:
                self._thread.start()
        return theirs

    def close(self) -> None:
        """Once the children are gone: their last messages are read."""
        self._button.close()
        if self._thread.ident is not None:
            self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._bell.close()

    def _run(self) -> None:
        closing = False
        while True:
            ready = self._selector.select(0 if closing else None)
            for key, _ in ready:
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._bell:
                    closing = True
                elif not self._hear(sock):
                    self._selector.unregister(sock)
                    sock.close()
            if closing and not [key for key, _ in ready if key.fileobj is not self._bell]:
                return

    def _hear(self, sock: socket.socket) -> bool:
        """One message; False when the child is gone."""
        try:
            said = _said.decode(_receive(sock))
            if said.progress is not None:
                self._job_channel.progress(said.id, said.progress)
            elif said.log is not None:
                self._job_channel.log(said.id, said.log)
            elif said.record is not None:
                tell(said.record)
            else:
                sock.sendall(frame(self._answer(said)))
        except (OSError, EOFError, msgspec.MsgspecError):
            return False
        return True

    def _answer(self, said: Said) -> Told:
        try:
            if said.step is not None:
                self._job_channel.finish(said.id, *said.step)
                return Told()
            if said.heard:
                return Told()
            return Told(self._job_channel.steps(said.id))
        except Exception as error:
            return Told(error=f"{type(error).__name__}: {error}")


def _receive(sock: socket.socket) -> bytes:
    return _exactly(sock, HEADER.unpack(_exactly(sock, HEADER.size))[0])


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (piece := sock.recv(size - len(data))):
            raise EOFError("the other end was closed")
        data += piece
    return bytes(data)
