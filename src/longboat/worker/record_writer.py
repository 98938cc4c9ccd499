"""WorkerRecordWriter: keeps this worker's record in the key-value store, for people who look at workers."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from longboat.contract.kv import Entry
from longboat.core.clock import SYSTEM
from longboat.core.memory import resident
from longboat.core.version import __version__
from longboat.observe import deploys
from longboat.observe.history import WORKER_KEPT, WORKERS, WorkerRecord
from longboat.worker.broker_link import BrokerLink
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.in_flight import InFlight
from longboat.worker.status import Status

EVERY = 2.0
SHOWN = 100


class WorkerRecordWriter:
    """A maintenance task."""

    def __init__(
        self, status: Status, link: BrokerLink, in_flight: InFlight, executors: ExecutorSet, schedules: Sequence[str]
    ) -> None:
        self._status = status
        self._link = link
        self._in_flight = in_flight
        self._executors = executors
        self._kv = link.broker.kv
        host, version = socket.gethostname(), __version__
        queues, tasks = list(link.options.queues), sorted(link.tasks)
        self._record = WorkerRecord(status.name, "", host, os.getpid(), version, SYSTEM.now(), queues, tasks, {}, [], 0, 0)
        self._record.schedules = list(schedules)
        app_version = os.environ.get("LONGBOAT_VERSION", "").strip()[: deploys.LONGEST]
        self._record.app_version = app_version if app_version.isprintable() else ""
        self._marked = not self._record.app_version
        self._record.python = platform.python_version()
        self._cpu = SYSTEM.monotonic(), time.process_time()
        self.id = self._record.id = f"{status.name} {os.urandom(4).hex()}"

    def run(self, now: float) -> float:
        record, monotonic = self._record, SYSTEM.monotonic()
        if not self._marked:
            deploys.mark_worker(self._kv, record.app_version, f"worker {record.name}")
            self._marked = True
        calls = list(self._in_flight.calls)
        started = sorted((call for call in calls if call.started), key=lambda call: call.started)
        record.leased = dict(Counter(call.lease.job.queue for call in calls))
        record.running = [(call.lease.job.id, call.task.name, now - (monotonic - call.started)) for call in started[:SHOWN]]
        record.state = self._status.state
        record.consumer, record.ended, record.memory = self._link.consumer().id, self._in_flight.total(), resident()
        record.slots, record.in_use = self._executors.slots(), self._executors.in_use()
        since, used = self._cpu
        if monotonic - since >= EVERY / 2:
            self._cpu = monotonic, time.process_time()
            record.cpu = round((self._cpu[1] - used) / (monotonic - since), 3)
        self._kv.write(WORKERS, [Entry(self.id, msgspec.msgpack.encode(record), WORKER_KEPT)])
        return now + EVERY

    def leave(self) -> None:
        """The worker is gone."""
        self._kv.write(WORKERS, [Entry(self.id, None)])
