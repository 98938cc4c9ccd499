"""The worker's end of one child process: its socket, its shared words, and the calls that are with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from multiprocessing.context import BaseContext
from multiprocessing.sharedctypes import RawArray
from typing import Any

import msgspec

from longboat.executors import child, stacks
from longboat.executors.contract import Call
from longboat.executors.wire import (
    HEADER,
    RECALLED,
    STACK,
    STARTED,
    STOP,
    WORDS,
    Answer,
    CallBatch,
    ChildCall,
    ChildSettings,
    Definition,
    frame,
)
from longboat.tasks.task import Task

CHUNK = 1 << 18

_answers = msgspec.msgpack.Decoder(Answer)


class ChildLink:
    """Belongs to one thread. Nothing here blocks that thread for more than a millisecond."""

    def __init__(self, context: BaseContext, settings: ChildSettings, job_channel: socket.socket | None = None) -> None:
        """Start the child. Raises OSError, EOFError and whatever else multiprocessing raises when that fails."""
        self.words: Any = RawArray(*WORDS)
        self.sock, theirs = socket.socketpair()
        arguments = (theirs, self.words, settings, job_channel)
        self.process = context.Process(target=child.main, args=arguments, name="longboat-child", daemon=False)  # type: ignore[attr-defined]  # typeshed leaves it out
        try:
            self.process.start()
        except BaseException:
            self.sock.close()
            raise
        finally:
            theirs.close()
            if job_channel is not None:
                job_channel.close()
        self.sock.setblocking(False)
        self.born = time.monotonic()
        self.ready = False
        """It takes calls."""
        self.hung_up = False
        """Its end of the socket is closed."""
        self.stuck = False
        """`flush` could not send everything."""
        self.fate = ""
        """Why it was killed from here, if it was."""
        self.calls: dict[int, tuple[Call, float]] = {}
        """The calls that it has not answered, by seq and in order, each with the seconds it is expected to take."""
        self.load = 0.0
        self.since = self.born
        """When the first of its calls began."""
        self.asked = 0.0
        """When the first of its calls was asked to stop."""
        self.warm: set[Task[..., Any]] = set()
        """The tasks whose functions it has found."""
        self._sent = 0
        self._defined: dict[Task[..., Any], int] = {}
        self._definitions: list[Definition] = []
        self._unsent: list[ChildCall] = []
        self._input = bytearray()
        self._output = bytearray()

    # --- calls

    def add(self, call: Call, cost: float) -> None:
        """Give it this call; the next `flush` sends it."""
        self._sent += 1
        self.calls[self._sent] = call, cost
        self.load += cost
        if len(self.calls) == 1:
            self.begin()
        call.handle = self, self._sent
        job, attempt = call.lease.job, call.lease.attempt
        self._unsent.append(
            ChildCall(self._sent, self._index(call.task), job.id, job.queue, attempt, job.payload, job.headers)
        )

    def begin(self) -> None:
        """The first of its calls has become the first just now."""
        self.since, self.asked = time.monotonic(), 0.0
        for call, _ in self.calls.values():
            if call.task in self.warm:
                call.started = self.since
            return

    def found(self, seq: int) -> None:
        """It has found the function of this call, and begins it."""
        self.since = time.monotonic()
        call, _ = self.calls[seq]
        call.started = self.since
        self.warm.add(call.task)

    def remove(self, seq: int) -> Call:
        call, cost = self.calls.pop(seq)
        self.load = self.load - cost if self.calls else 0.0
        call.handle = None
        return call

    def recall(self) -> list[Call]:
        """Take back the calls that have not begun, in order; they never will. One more may come back as UNSTARTED."""
        self.words[RECALLED] = self._sent
        time.sleep(0.001)  # for both processors to see what the other one has written
        started = self.words[STARTED]
        return [self.remove(seq) for seq in tuple(self.calls) if seq > started]

    def running(self, seq: int) -> bool:
        return seq in self.calls and bool(self.words[STARTED] == seq)

    def stop(self, seq: int) -> None:
        """Have errors.Stopped raised in this call, which has begun, and in no other."""
        self.asked = self.asked or time.monotonic()
        self.words[STOP] = seq
        self._signal(signal.SIGUSR1)

    def stack(self) -> str:
        """Where it is, as a traceback shows it; empty if it does not tell. Takes some milliseconds, from any thread."""
        try:
            return stacks.of_process(self.process.pid or 0, self.words[STACK], child.__file__)
        except ValueError:  # it has died, and is buried
            return ""

    def kill(self, why: str) -> None:
        self.ready = False
        self.fate = self.fate or why
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def _index(self, task: Task[..., Any]) -> int:
        index = self._defined.get(task)
        if index is None:
            index = self._defined[task] = len(self._defined)
            kinds = [(kind.__module__, kind.__qualname__) for kind in task.settings.retry_on]
            fn = task.fn
            self._definitions.append(Definition(index, task.name, fn.__module__, fn.__qualname__, kinds))
        return index

    # --- bytes

    def flush(self) -> None:
        """Send what is unsent, as far as the socket takes it."""
        if self._unsent:
            self._output += frame(CallBatch(self._definitions, self._unsent))
            self._definitions, self._unsent = [], []
        if self._output:
            try:
                del self._output[: self.sock.send(self._output)]
            except BlockingIOError:
                pass
            except OSError:  # it is dead, or about to die
                self._output.clear()
        self.stuck = bool(self._output)

    def read(self) -> list[Answer]:
        """The answers that have come."""
        try:
            while data := self.sock.recv(CHUNK):
                self._input += data
                if len(data) < CHUNK:
                    break
            else:
                self.hung_up = True
        except BlockingIOError:
            pass
        except OSError:
            self.hung_up = True
        try:
            return self._parse()
        except msgspec.MsgspecError:  # a task has written to a socket that is not its own
            self.hung_up = True
            return []

    def _parse(self) -> list[Answer]:
        answers, data, at = [], self._input, 0
        while len(data) - at >= HEADER.size:
            end = at + HEADER.size + HEADER.unpack_from(data, at)[0]
            if len(data) < end:
                break
            answers.append(_answers.decode(data[at + HEADER.size : end]))
            at = end
        del data[:at]
        return answers

    # --- the end

    def bury(self) -> str:
        """Let go of a child that has died. Returns how it died, for people."""
        status = self.process.exitcode
        if status == 255:  # perhaps not its own: multiprocessing says so too when the fork server is gone
            self._signal(signal.SIGKILL)
        self.sock.close()
        self.process.close()
        return self.fate or worded(status)


def worded(status: int | None) -> str:
    """An exit status as multiprocessing gives it, in words."""
    if status is None or status >= 0:
        return f"its process exited with status {status}"
    try:
        name = f" ({signal.Signals(-status).name})"
    except ValueError:
        name = ""
    hint = ", perhaps by the kernel because memory ran out" if -status == signal.SIGKILL else ""
    return f"its process was killed by signal {-status}{name}{hint}"
