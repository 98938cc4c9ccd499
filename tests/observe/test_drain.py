"""How a queue fills and empties: what came is what there is more and what ended, and the outlook follows from both."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Lease, Settlement
from longboat.core.job import Done, State
from longboat.observe import depth
from longboat.observe.drain import SLOW, Drain, drain, drains, over
from longboat.observe.history import GRAINS
from longboat.observe.numbers import Numbers, numbers
from longboat.observe.words import rate
from longboat.testing.conformance.stage import job
from longboat.worker.recorder import Recorder

NOW = 1_900_002_609.0
"""9 s into a bucket of time: all that ended in it counts, and a tenth of the one before."""


def put(broker: MemoryBroker, count: int, queue: str = "q") -> None:
    broker.put([job(queue=queue) for _ in range(count)])


def end(broker: MemoryBroker, at: float, count: int, queue: str = "q") -> None:
    """So many jobs of the queue end at this time."""
    consumer = broker.consumer([queue], lease=60)
    taken = consumer.receive(count, wait=0)
    settled = [Settlement(lease, Done(b"\xc0")) for lease in taken]
    consumer.settle(settled)
    consumer.close()
    recorder = Recorder(broker.kv, f"w{at}")
    recorder.settled(settled)
    recorder.run(at)


def test_what_comes_and_what_ends() -> None:
    broker = MemoryBroker()
    put(broker, 200)
    put(broker, 7, "other")
    depth.sample(broker, NOW - 9)
    put(broker, 18)
    end(broker, NOW, 90)
    found = drains(broker, numbers(broker), NOW)
    assert (found["q"].due, found["q"].ending) == (128, 9.0)
    assert found["q"].coming == pytest.approx(9.0 + (128 - 200) / 9)
    assert found["q"].empty_in == pytest.approx(128 / (72 / 9))
    assert found["q"].outlook == "empty in about 16 s"
    assert found["other"].outlook == "never empty at this rate: nothing has ended in the last 10 s"


def test_slow_jobs_are_judged_by_a_longer_time() -> None:
    broker = MemoryBroker()
    put(broker, 63)
    depth.sample(broker, NOW - 600)
    for ago in (500, 300, 100):
        end(broker, NOW - ago, 1)
    depth.sample(broker, NOW - 10)
    found = drains(broker, numbers(broker), NOW)["q"]
    assert found.over == pytest.approx(609)  # from the beginning of the sample's bucket
    assert (found.due, found.coming) == (60, 0.0)
    assert found.ending == pytest.approx(3 / 609)
    assert found.empty_in == pytest.approx(60 * 609 / 3)
    assert found.over < SLOW


def test_slow_jobs_that_end_together_are_judged_by_a_minute() -> None:
    broker = MemoryBroker()
    put(broker, 100)
    depth.sample(broker, NOW - 49)
    for ago in (40, 20, 0):
        end(broker, NOW - ago, 7)
    consumer = broker.consumer(["q"], lease=60)
    consumer.receive(7, wait=0)
    depth.sample(broker, NOW - 9)
    found = drains(broker, numbers(broker), NOW)["q"]
    assert (found.due, found.queued) == (79, 72)
    assert found.over == pytest.approx(49)
    assert found.ending == pytest.approx(21 / 49)


def test_a_range_begins_with_the_first_sample() -> None:
    broker = MemoryBroker()
    put(broker, 600)
    end(broker, NOW - 1500, 500)
    depth.sample(broker, NOW - 609)
    put(broker, 200)
    end(broker, NOW - 300, 60)
    found = over(broker.kv, numbers(broker), ["q", "none"], GRAINS[1], NOW - 3600, NOW)
    assert found["q"].over == pytest.approx(609)  # the bucket begins in that minute
    assert found["q"].coming == pytest.approx(200 / 609, rel=0.01)
    assert found["q"].ending == pytest.approx(60 / 609, rel=0.01)
    assert found["none"].outlook == "empty"
    assert over(broker.kv, numbers(broker), ["q"], GRAINS[1], NOW - 60, NOW) == {}


def test_jobs_that_were_deleted_have_not_come() -> None:
    broker = MemoryBroker()
    put(broker, 500)
    depth.sample(broker, NOW - 9)
    broker.inspector.purge([State.READY], queue="q")
    put(broker, 9)
    assert drains(broker, numbers(broker), NOW)["q"].coming == 0.0


@dataclass
class Case:
    """What is known of a queue, and what is said of it."""

    due: int | None
    queued: int | None
    coming: float | None
    ending: float | None
    stopped: str
    empty_in: float | None
    outlook: str


CASES = [
    Case(0, 0, 0.0, 0.0, "", 0.0, "empty"),
    Case(3, 0, 0.0, 0.0, "", None, "nothing waits"),
    Case(6, 4, 5.0, 5.0, "", None, "keeping up"),
    Case(600, 590, 5.0, 7.0, "", 300.0, "empty in about 5 m"),
    Case(600, 590, 5.0, 3.0, "", None, "growing by 2.0/s"),
    Case(600, 590, 5.0, 5.0, "", None, "never empty at this rate: as many jobs come as end"),
    Case(600, 590, 0.0, 0.0, "", None, "never empty at this rate: nothing has ended in the last 10 s"),
    Case(600, 590, 0.0, 7.0, "it is paused", None, "never empty: it is paused"),
    Case(600, 590, None, 7.0, "", None, "how long it takes is not known: nobody counted its jobs in the last minute"),
    Case(600, 590, None, None, "", None, "how long it takes is not known: this broker keeps no history"),
    Case(None, None, None, 7.0, "", None, "how many jobs it has is not known"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.outlook)
def test_the_outlook(case: Case) -> None:
    made = Drain(case.due, case.queued, case.coming, case.ending, stopped=case.stopped)
    assert (made.empty_in, made.outlook) == (case.empty_in, case.outlook)


def test_what_a_broker_does_not_count_is_not_taken_for_none() -> None:
    some = Numbers({("q", State.READY): 4}, frozenset({State.READY}))
    found = drain(some, "q", depth.Taken(NOW - 10, {"q": [14, None, None, None, 0]}), 1.0, NOW)
    assert (found.due, found.coming) == (4, 0.0)
    assert drain(Numbers(), "q", None, 1.0, NOW).due is None
    full = depth.Taken(NOW - 10, {f"q{n}": [1, 0, 0, 0, 0] for n in range(depth.QUEUES)})
    assert drain(some, "q", full, 1.0, NOW).coming is None, "the sample had no room for it"


def test_rates_in_words() -> None:
    assert [rate(each) for each in (None, 0.0, 4310.0, 3.24, 0.5, 0.001, 0.0001)] == [
        "–",
        "0/s",
        "4,310/s",
        "3.2/s",
        "30/min",
        "3.6/h",
        "<1/h",
    ]


def test_a_queue_without_jobs_is_empty() -> None:
    broker = MemoryBroker()
    recorder = Recorder(broker.kv, "w")
    recorder.settled([Settlement(Lease(job(queue="gone"), 1, 1), Done(b"\xc0"))] * 50)
    recorder.run(NOW)
    assert drains(broker, numbers(broker), NOW)["gone"].outlook == "empty"
