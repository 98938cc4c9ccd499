"""StackWriter: writes down where the running jobs are, when somebody asks."""

from __future__ import annotations

from longboat.contract.kv import KV
from longboat.core.clock import SYSTEM
from longboat.operate.stacks import JobStack, Stacks, keep
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.in_flight import InFlight

MOST = 100
"""Jobs that are told: those that have run longest."""


class StackWriter:
    """Belongs to the maintenance thread."""

    def __init__(self, kv: KV, in_flight: InFlight, executors: ExecutorSet) -> None:
        self._kv = kv
        self._in_flight = in_flight
        self._executors = executors

    def write(self, worker: str) -> None:
        """`worker`: the id of its record. Raises BrokerError."""
        started = sorted((call for call in list(self._in_flight.calls) if call.started), key=lambda call: call.started)
        jobs = [JobStack(call.lease.job.id, call.task.name, self._executors.of(call).stack(call)) for call in started[:MOST]]
        keep(self._kv, worker, Stacks(SYSTEM.now(), jobs))
