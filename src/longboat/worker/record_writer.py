"""Presence: a worker's card on the board, for people who look at workers."""

from __future__ import annotations

import importlib.metadata
import os
import socket
from collections.abc import Callable, Mapping

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.memory import resident
from longboat.executors.contract import Call, Executor
from longboat.observe.history import WORKER_KEPT, WORKERS, WorkerRecord

EVERY = 2.0
SHOWN = 100


class WorkerRecordWriter:
    """A chore of the steward's. `state`, `consumer`, `calls` and `ended` tell how things stand."""

    def __init__(
        self,
        kv: KV,
        name: str,
        queues: list[str],
        tasks: list[str],
        executors: Mapping[str, Executor],
        *,
        state: Callable[[], str],
        consumer: Callable[[], str],
        calls: Callable[[], list[Call]],
        ended: Callable[[], int],
    ) -> None:
        self._kv = kv
        self._executors = executors
        self._state = state
        self._consumer = consumer
        self._calls = calls
        self._ended = ended
        host, version = socket.gethostname(), importlib.metadata.version("longboat")
        self._record = WorkerRecord(name, "", host, os.getpid(), version, SYSTEM.now(), queues, tasks, {}, [], 0, 0)

    def run(self, now: float) -> float:
        record, monotonic = self._record, SYSTEM.monotonic()
        started = sorted((call for call in self._calls() if call.started), key=lambda call: call.started)
        record.running = [(call.lease.job.id, call.task.name, now - (monotonic - call.started)) for call in started[:SHOWN]]
        record.state = self._state()
        record.consumer, record.ended, record.memory = self._consumer(), self._ended(), resident()
        record.slots = {name: executor.slots for name, executor in list(self._executors.items())}
        self._kv.write(WORKERS, [Entry(record.name, msgspec.msgpack.encode(record), WORKER_KEPT)])
        return now + EVERY

    def leave(self) -> None:
        """The worker is gone."""
        self._kv.write(WORKERS, [Entry(self._record.name, None)])
