"""What runs in a child process: it reads calls from the socket, runs them one after the other, and answers each."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib
import multiprocessing
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextvars import Context
from types import FrameType
from typing import Any

import msgspec

from longboat.core.job import Failure
from longboat.core.memory import resident
from longboat.core.reasons import UNKNOWN_TASK
from longboat.core.retry import RetryPolicy
from longboat.core.signals import shield
from longboat.errors import Stopped
from longboat.executors import invoke, stacks
from longboat.executors.contract import CallEnd, Reply
from longboat.executors.job_channel import SocketJobChannel
from longboat.executors.joblogs import listen_to_logs, pass_on
from longboat.executors.wire import (
    HEADER,
    RECALLED,
    STACK,
    STARTED,
    STOP,
    Answer,
    CallBatch,
    ChildCall,
    ChildSettings,
    Definition,
    frame,
)
from longboat.tasks.current import Running, running
from longboat.tasks.depends import Resources
from longboat.tasks.task import Settings, Task
from longboat.tasks.template import Template


def main(sock: socket.socket, words: Any, settings: ChildSettings, job_channel: socket.socket | None) -> None:
    """The child's whole life. Returns when the parent closes the socket, or a limit is reached."""
    die_with_parent()
    shield(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    child = Child(sock, words, settings, job_channel)
    signal.signal(signal.SIGUSR1, child.on_signal)
    words[STACK] = stacks.tell_on_signal()
    try:
        child.serve()
    finally:
        child.close()


class Child:
    def __init__(self, sock: socket.socket, words: Any, settings: ChildSettings, job_channel: socket.socket | None) -> None:
        self._sock = sock
        self._words = words
        self._settings = settings
        self._pid = os.getpid()
        self._definitions: dict[int, Definition] = {}
        self._tasks: dict[int, Task[..., Any]] = {}
        self._calls = 0
        self._inside = 0
        """The seq whose function runs, and may be interrupted."""
        self._stopped = 0
        """The seq that was interrupted: no function is interrupted twice."""
        self._job = Running("", "", "", 0)
        self._job_channel = (
            None if job_channel is None else SocketJobChannel(job_channel, settings.worker, self._undisturbed)
        )
        self._resources = Resources()

    def serve(self) -> None:
        decoder = msgspec.msgpack.Decoder(CallBatch)
        stream = self._sock.makefile("rb")
        self._send(Answer(0))
        while len(head := stream.read(HEADER.size)) == HEADER.size:
            batch = decoder.decode(stream.read(*HEADER.unpack(head)))
            self._definitions.update((definition.index, definition) for definition in batch.definitions)
            for child_call in batch.calls:
                self._words[STARTED] = child_call.seq
                if child_call.seq <= self._words[RECALLED]:
                    self._send(Answer(child_call.seq, CallEnd.UNSTARTED))
                    continue
                reply = Context().run(self._run, child_call)
                if os.getpid() != self._pid:
                    os._exit(0)  # the task forked, and its child came back here
                if self._job_channel is not None:
                    self._job_channel.passed_on()
                leaving = self._leaving()
                # Sent before the next one begins: if that one kills this process, this answer must not die with it.
                self._send(Answer(child_call.seq, reply.ending, reply.result, reply.failure, reply.again, leaving))
                if leaving:
                    return

    def _leaving(self) -> bool:
        """Whether a limit is reached."""
        self._calls += 1
        calls, memory = self._settings.max_calls, self._settings.max_memory
        return (calls is not None and self._calls >= calls) or (memory is not None and resident() > memory)

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._resources.close()

    def on_signal(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as its protocol has it
        if self._inside and self._words[STOP] == self._inside != self._stopped:
            self._interrupt()

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Stopped is not raised within this block, but at its end."""
        inside, self._inside = self._inside, 0
        try:
            yield
        finally:
            self._inside = inside
        if inside and self._words[STOP] == inside != self._stopped:
            self._interrupt()

    def _interrupt(self) -> None:
        self._stopped = self._inside
        self._job.stopping = True
        raise Stopped("the time is up, or the job was cancelled")

    def _run(self, child_call: ChildCall) -> Reply:
        task = self._tasks.get(child_call.task)
        if task is None:
            try:
                with contextlib.suppress(OSError):  # it is gone
                    os.chdir(self._settings.directory or ".")
                for module in self._settings.modules:
                    importlib.import_module(module)
                task = find(self._definitions[child_call.task])
                if self._job_channel is not None:  # now, as what was imported may have set up logging
                    listen_to_logs()
                    pass_on(self._settings.log_level, self._job_channel.record)
                self._tasks[child_call.task] = task
            except BaseException as error:
                return Reply(CallEnd.REFUSED, failure=_unknown(self._definitions[child_call.task], error), again=False)
            self._send(Answer(child_call.seq))
        try:
            args, kwargs = task.arguments.decode(child_call.payload)
        except BaseException as error:  # a model's validators are anybody's code
            return invoke.refused(error)
        self._job = Running(
            child_call.id, task.name, child_call.queue, child_call.attempt, self._job_channel, child_call.headers
        )
        running.set(self._job)
        try:
            try:
                self._inside = child_call.seq
                if self._words[STOP] == child_call.seq:  # the signal came before the function began
                    self._interrupt()
                if task.needs:
                    kwargs.update(self._resources.get(task.needs))
                value = task.body(*args, **kwargs)
            finally:
                self._inside = 0
        except BaseException as error:
            self._inside = 0  # again, since Stopped may be raised in the line above
            return invoke.raised(task, error)
        return invoke.returned(task, value)

    def _send(self, answer: Answer) -> None:
        try:
            self._sock.sendall(frame(answer))
        except OSError:  # the parent is gone, or the task closed a socket that is not its own
            os._exit(1)


def find(definition: Definition) -> Task[..., Any]:
    """The task as it is defined here, or made from the function that is found in its place.

    What another framework's decorator has left there says by its attribute `longboat_task` which task it stands for.
    Raises whatever importing the module raises, AttributeError or TypeError.
    """
    found = _walk(definition.module, definition.qualname)
    found = getattr(found, "longboat_task", found)
    if isinstance(found, Task):
        if found.name == definition.name:
            return found
        found = found.fn
    if not callable(found):
        raise TypeError(f"a {type(found).__name__} was found there")
    kinds = []
    for module, qualname in definition.retry_on:
        try:
            kind = _walk(module, qualname)
        except (ImportError, AttributeError):
            continue  # a class that cannot be found here cannot be raised here either
        if isinstance(kind, type) and issubclass(kind, BaseException):
            kinds.append(kind)
    settings = Settings("process", RetryPolicy(0, 0.0), tuple(kinds), None)
    return Task(found, definition.name, settings, Template(), None)


def _walk(module: str, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), importlib.import_module(module))


def _unknown(definition: Definition, error: BaseException) -> Failure:
    said = invoke.failure(error)
    text = (
        f"task {definition.name!r} cannot be run in a child process: {definition.module}.{definition.qualname} was not "
        f"found there ({said.type}: {said.message}). Define it at the top of a module that can be imported anywhere."
    )
    return Failure(UNKNOWN_TASK, invoke.clip(text), said.traceback)


# --- the parent's death


def die_with_parent() -> None:
    """End this process when the worker dies, whatever runs here: multiprocessing's sentinel closes then."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel
    if hasattr(fcntl, "F_SETSIG"):
        # The kernel does it: it works while C code holds the GIL, and needs no thread, beside which a task could not
        # fork safely. (PR_SET_PDEATHSIG would watch the fork server instead.)
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([sentinel], [], [], 0)[0]:
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    select.select([sentinel], [], [])
    os._exit(1)
