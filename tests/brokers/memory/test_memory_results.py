"""Results in memory: who watches is told, whatever is kept."""

from __future__ import annotations

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_id


def test_a_result_that_is_not_kept_is_told_to_who_watched_before_it_was_put() -> None:
    """A private executor waits for its calls in this way; its listener's thread may look only later."""
    broker, job = MemoryBroker(), Job(MESSAGE_VERSION, new_id(), "task", b"", keep=0.0)
    listener = broker.results.listen()
    listener.watch([job.id])
    broker.put([job])
    consumer = broker.consumer([], lease=15.0, tasks=["task"])
    (lease,) = consumer.receive(1, wait=0.0)
    consumer.settle([Settlement(lease, Done(b"value"))])
    assert broker.inspector.find([job.id]) == [None]
    assert [(result.id, result.value) for result in listener.wait(0.0)] == [(job.id, b"value")]
