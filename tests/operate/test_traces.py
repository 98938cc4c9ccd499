"""What is known of jobs that no broker looks up."""

from __future__ import annotations

import msgspec

from longboat.brokers.memory import MemoryBroker
from longboat.contract.kv import Entry
from longboat.observe.history import WORKERS, WorkerRecord
from longboat.operate.traces import running


def test_a_job_runs_where_it_was_started_last() -> None:
    """The record of a worker that was killed stays for ten seconds."""
    broker = MemoryBroker()
    for name, jobs in {"killed": [("one", "t", 1.0)], "living": [("two", "t", 2.0), ("one", "t", 3.0)]}.items():
        record = WorkerRecord(name, "", "", 0, "", 0.0, ["q"], [], {}, jobs, 0, 0, id=name)
        broker.kv.write(WORKERS, [Entry(name, msgspec.msgpack.encode(record), 60.0)])
    assert [(view.id, view.worker) for view in running(broker.kv)] == [("two", "living"), ("one", "living")]
