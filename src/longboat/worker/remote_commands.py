"""Obeying: what people tell this worker to do is done."""

from __future__ import annotations

from collections.abc import Callable

from longboat.contract.kv import KV
from longboat.operate.commands import Command, take

COMMANDED = "ordered"
"""The reason to finish of a worker that was told to stop: nobody is to start another in its place."""
WORDS = {Command.QUIET: "take no more jobs", Command.RESUME: "take jobs again", Command.STOP: "stop"}
LOOK = 1.0
"""Seconds after which an order is heeded, at most."""


class RemoteCommands:
    """A chore of the steward's, before that which shows the worker: then it is shown as it has become."""

    def __init__(self, kv: KV, name: str, execute: Callable[[Command], None]) -> None:
        self._kv = kv
        self._name = name
        self._execute = execute
        self._listening = False

    def run(self, now: float) -> float:
        command = take(self._kv, self._name)
        # What stood there before was meant for one of this name before us: the process ids of containers are alike.
        if command is not None and self._listening:
            self._execute(command)
        self._listening = True
        return now + LOOK
