"""How many jobs there were, by time: of all processes that sample one counts, and workers do it without a dashboard."""

from __future__ import annotations

import time

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.core.job import State
from longboat.observe.depth import SHOWN, sample, samples
from longboat.observe.history import GRAINS
from longboat.testing.conformance.stage import job
from tests.rigs.waiting import until


def test_one_of_many_counts() -> None:
    broker = MemoryBroker()
    broker.put([job(queue="q"), job(queue="p")])
    assert sample(broker, 4603.0) == sample(broker, 4609.0) == 4610.0
    broker.put([job(queue="q")])
    sample(broker, 4609.9)
    sample(broker, 4610.0)
    ready = SHOWN.index(State.READY)
    for queue, wanted in (("", [2, 3]), ("q", [1, 2])):
        assert [row[ready] for _, row in samples(broker.kv, GRAINS[0], 0.0, queue)] == wanted
    assert [at for at, _ in samples(broker.kv, GRAINS[2], 0.0)] == [3600.0], "one an hour"


def test_a_worker_samples() -> None:
    with Longboat("memory://") as app:
        app.broker.put([job(queue="elsewhere")])
        with app.worker(queues=["here"]):
            until(lambda: bool(samples(app.broker.kv, GRAINS[0], time.time() - 20, "elsewhere")))
