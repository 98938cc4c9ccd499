"""RemoteCommands: does what people tell this worker to do."""

from __future__ import annotations

import logging

from longboat.contract.kv import KV
from longboat.operate.commands import Command, take
from longboat.worker.fetcher import Fetcher
from longboat.worker.record_writer import WorkerRecordWriter
from longboat.worker.stacks import StackWriter
from longboat.worker.status import Status

log = logging.getLogger("longboat.worker")

COMMANDED = "commanded"
"""The reason to finish of a worker that was told to stop: no other process is to start in its place."""
WORDS = {Command.QUIET: "take no more jobs", Command.RESUME: "take jobs again", Command.STOP: "stop"}
LOOK = 1.0
"""Seconds until a command takes effect, at most."""


class RemoteCommands:
    """A maintenance task."""

    def __init__(
        self, kv: KV, status: Status, fetcher: Fetcher, record_writer: WorkerRecordWriter, stacks: StackWriter
    ) -> None:
        self._kv = kv
        self._status = status
        self._fetcher = fetcher
        self._record_writer = record_writer
        self._stacks = stacks

    def run(self, now: float) -> float:
        command = take(self._kv, self._record_writer.id)
        if command is Command.STACKS:
            self._stacks.write(self._record_writer.id)
        elif command is not None:
            self._execute(command)
            self._record_writer.run(now)  # so that the worker is shown as it has become
        return now + LOOK

    def _execute(self, command: Command) -> None:
        log.warning("worker %s is told to %s", self._status.name, WORDS[command])
        if command is Command.STOP:
            self._status.finish(COMMANDED)
            self._status.alarm.set()  # inside a program nobody may wait for the end
        elif not self._status.finished.is_set():
            self._fetcher.hush(command is Command.QUIET)
