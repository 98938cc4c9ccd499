"""Publishers and listeners of events, over a KV that fails, by clocks that are set back, slow and far behind."""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec
import pytest

from longboat import Longboat, State
from longboat.brokers.memory import MemoryBroker
from longboat.client.enqueue_events import EnqueueEvents
from longboat.contract.broker import Lease
from longboat.contract.kv import Entry
from longboat.core.job import Failure
from longboat.errors import BrokerUnavailable
from longboat.executors.contract import Call
from longboat.observe import stream
from longboat.observe.events import (
    Bus,
    Event,
    EventsDropped,
    JobDied,
    JobEnqueued,
    JobsLost,
    JobsParked,
    WorkerStopped,
)
from longboat.observe.stream import AT_ONCE, EVENTS, LISTENING, MOST, EventPublisher, EventStream
from longboat.testing.conformance.stage import job
from longboat.worker.in_flight import InFlight
from longboat.worker.parked import ParkedJobs
from longboat.worker.worker_events import WorkerEvents
from tests.apps import worker_tasks
from tests.rigs.waiting import until


def test_what_is_too_much_is_dropped_and_counted() -> None:
    kv = MemoryBroker().kv
    listening, publisher = EventStream(kv), EventPublisher(kv, "w")
    assert listening.poll() == []
    publisher.run(1000.0)
    assert publisher.open
    for place in range(MOST + 25):
        publisher.tell(JobsLost("w", place))
    publisher.run(1000.25)
    heard = listening.poll()
    assert [event.jobs for event in heard if isinstance(event, JobsLost)] == list(range(MOST))
    assert [event.count for event in heard if isinstance(event, EventsDropped)] == [25]
    assert listening.poll() == [], "each is told once"


@pytest.mark.parametrize(
    "raw", [b"", b"\xc1", b"\x91" * 5000, b"\x91\x05", msgspec.msgpack.encode([["jobs.lost", "w", 1, 1e999]])]
)
def test_an_entry_that_cannot_be_read_ends_no_stream(raw: bytes) -> None:
    kv = MemoryBroker().kv
    listening, publisher = EventStream(kv), EventPublisher(kv, "w")
    listening.poll()
    publisher.run(0.0)
    kv.write(EVENTS, [Entry("!bad", msgspec.msgpack.encode(1)), Entry("=bad:000000000001", raw), Entry("!worse", raw)])
    publisher.tell(JobsLost("w", 3))
    publisher.run(0.1)
    assert [event.jobs for event in listening.poll() if isinstance(event, JobsLost)] == [3]


def test_events_of_large_failures_go_in_several_entries() -> None:
    kv = MemoryBroker().kv
    listening, publisher = EventStream(kv), EventPublisher(kv, "w")
    listening.poll()
    publisher.run(0.0)
    for place in range(100):
        publisher.tell(JobDied("w", f"{place}", "t", "q", 1, Failure("E", "m" * 32_000, "t" * 32_000)))
    publisher.run(0.3)
    heard = [event for _ in range(20) for event in listening.poll()]
    assert [event.id for event in heard if isinstance(event, JobDied)] == [f"{place}" for place in range(100)]


def test_each_listener_hears_every_process_and_only_what_came_after_it() -> None:
    kv = MemoryBroker().kv
    first, one, other = EventStream(kv), EventPublisher(kv, "one"), EventPublisher(kv, "other")
    first.poll()
    one.run(0.0)
    other.run(0.0)
    one.tell(JobsLost("one", 1))
    one.run(0.1)
    second = EventStream(kv)
    second.poll()
    one.tell(JobsLost("one", 2))
    other.tell(JobsLost("other", 3))
    one.run(0.2)
    other.run(0.2)
    assert sorted(event.jobs for event in first.poll() if isinstance(event, JobsLost)) == [1, 2, 3]
    assert sorted(event.jobs for event in second.poll() if isinstance(event, JobsLost)) == [2, 3]
    first.close()
    one.run(2.0)
    assert one.open, "the other still listens"
    second.close()
    one.run(4.0)
    assert not one.open


class Failing:
    """A board that is down, or fails from some call of one kind on."""

    def __init__(self) -> None:
        self.kv = MemoryBroker().kv
        self.failing: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in self.failing:
            raise BrokerUnavailable("down")
        return getattr(self.kv, name)


def numbers(events: list[Event]) -> list[int]:
    return [event.jobs for event in events if isinstance(event, JobsLost)]


def test_a_look_that_fails_in_the_middle_misses_nothing() -> None:
    kv: Any = Failing()
    listening, publisher = EventStream(kv), EventPublisher(kv, "w")
    listening.poll()
    publisher.tell(JobsLost("w", 1))
    publisher.run(1000.0)
    kv.failing = {"read"}
    with pytest.raises(BrokerUnavailable):
        listening.poll()
    kv.failing = set()
    assert numbers(listening.poll()) == [1]


def test_what_is_told_while_the_broker_is_down_is_heard_once_it_answers() -> None:
    kv: Any = Failing()
    listening, publisher = EventStream(kv), EventPublisher(kv, "w")
    listening.poll()
    publisher.run(1000.0)
    kv.failing = {"write"}
    for place in range(MOST + 5):
        publisher.tell(JobsLost("w", place))
        if place % 100 == 0:
            with pytest.raises(BrokerUnavailable):
                publisher.run(1000.25)
    kv.failing = set()
    publisher.run(1001.0)
    heard = listening.poll()
    assert numbers(heard) == list(range(MOST))
    assert [event.count for event in heard if isinstance(event, EventsDropped)] == [5]


def test_events_of_one_process_stay_in_order_when_its_clock_is_set_back() -> None:
    kv = MemoryBroker().kv
    listening, one, other = EventStream(kv), EventPublisher(kv, "one"), EventPublisher(kv, "other")
    listening.poll()
    for number, at in ((1, 100.0), (2, 50.0), (3, 120.0)):
        one.tell(JobsLost("one", number, at=at))
    other.tell(JobsLost("other", 10, at=110.0))
    one.run(0.0)
    other.run(0.0)
    assert numbers(listening.poll()) == [1, 2, 10, 3]


def test_one_who_is_far_behind_hears_it_in_parts() -> None:
    kv: Any = MemoryBroker().kv
    listening, publishers = EventStream(kv), [EventPublisher(kv, f"{number}") for number in range(3)]
    listening.poll()
    batches = 100
    for place in range(batches):
        for publisher in publishers:
            publisher.tell(JobsLost(publisher.who, place))
            publisher.run(1000.0)
    heard: list[Event] = []
    while events := listening.poll():
        assert len(events) <= AT_ONCE
        heard += events
    for publisher in publishers:
        assert [event.jobs for event in heard if isinstance(event, JobsLost) and event.worker == publisher.who] == list(
            range(batches)
        )


def test_one_who_is_slow_is_still_taken_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.observe.stream.LISTENING_KEPT", 0.4)
    monkeypatch.setattr("longboat.observe.stream.RENEW", 0.1)
    kv = MemoryBroker().kv
    listening, publisher = EventStream(kv), EventPublisher(kv, "w")
    listening.poll()
    for place in range(10):
        publisher.tell(JobsLost("w", place))
    publisher.run(1000.0)
    for _ in range(10):
        next(listening)
        time.sleep(0.08)
    assert kv.entries(LISTENING)


def test_a_broker_that_is_down_holds_up_no_event_that_was_heard() -> None:
    kv: Any = Failing()
    listening, publisher = EventStream(kv), EventPublisher(kv, "w")
    listening.poll()
    for place in range(100):
        publisher.tell(JobsLost("w", place))
    publisher.run(1000.0)
    next(listening)
    tries = []

    class Hangs(Failing):
        def write(self, *_: Any) -> None:
            tries.append(1)
            raise BrokerUnavailable("down")

    listening._kv, listening._renew_at = Hangs(), 0.0
    assert [number(next(listening)) for _ in range(99)] == list(range(1, 100))
    assert len(tries) == 1
    listening.close()


def number(event: Event) -> int:
    assert isinstance(event, JobsLost)
    return event.jobs


@pytest.mark.usefixtures("brisk")
def test_a_worker_whose_clock_is_set_back_finds_out_that_nobody_listens_any_more() -> None:
    kv = MemoryBroker().kv
    listening, worker_events = EventStream(kv), WorkerEvents(Bus(), EventPublisher(kv, "w"), InFlight())
    listening.poll()
    worker_events.run(1e9)
    assert worker_events.every_job
    listening.close()
    time.sleep(2 * stream.LOOK)
    assert worker_events.run(1e9 - 3600) <= 1e9 - 3600 + 1
    assert not worker_events.every_job


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("answers", [True, False], ids=["up", "down"])
def test_what_a_worker_did_last_is_told_before_it_ends(
    answers: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it has told of parked jobs a moment ago, and whether or not its broker answers at the end."""
    monkeypatch.setattr("longboat.worker.parked.GATHERED", 0.0)
    caplog.set_level(logging.INFO, "longboat.worker")
    said: list[Event] = []
    with Longboat("memory://") as app:
        tasks = worker_tasks.declare(app)
        app.bus.listen(said.append)
        worker = app.worker()
        worker.report_successes()
        with worker:
            app.send("a.first")
            until(lambda: any(isinstance(event, JobsParked) for event in said))
            if not answers:
                worker._maintenance.tasks = {"": fails_always, **worker._maintenance.tasks}
            tasks.add.enqueue(1, 1).result(10)
            waiting = [app.send("a.first"), *(app.send("a.second") for _ in range(3))]
            until(lambda: {job.status() for job in waiting} == {State.WAITING})
    parked = [(event.task, event.jobs) for event in said if isinstance(event, JobsParked)]
    assert parked == [("a.first", 1), ("a.second", 3), ("a.first", 1)]
    assert isinstance(said[-1], WorkerStopped)
    assert "add [" in caplog.text


def fails_always(_: float) -> float:
    raise BrokerUnavailable("down")


def test_many_unknown_tasks_are_told_of_a_few_at_a_time() -> None:
    parked = ParkedJobs()
    for number in range(30):
        for _ in range(number + 1):
            parked.add(f"t{number}", "", 100.0)
    assert parked.due(100.5) == [], "more of them may come"
    assert [each.task for each in parked.due(101.0)] == [f"t{number}" for number in range(29, 19, -1)]
    parked.add("t29", "", 102.0)
    assert parked.due(110.0) == []
    assert [each.jobs for each in parked.due(161.0)] == list(range(20, 10, -1))
    assert [each.jobs for each in parked.due(300.0)] == list(range(10, 0, -1))
    assert [(each.task, each.jobs) for each in parked.due(400.0)] == [("t29", 1)], "it was not forgotten"


@pytest.mark.usefixtures("brisk")
def test_what_runs_is_not_held_on_to_once_nobody_listens() -> None:
    kv = MemoryBroker().kv
    listening, worker_events = EventStream(kv), WorkerEvents(Bus(), EventPublisher(kv, "w"), InFlight())
    listening.poll()
    task = worker_tasks.declare(Longboat("memory://")).add
    call = Call(Lease(job(), 1, 1), task)
    call.started = time.monotonic()
    worker_events._in_flight.calls[call] = None
    worker_events.run(time.time())
    worker_events.run(time.time())
    assert call in worker_events._started
    listening.close()
    time.sleep(2 * stream.LOOK)
    worker_events.run(time.time())
    worker_events.run(time.time())
    assert not worker_events._started


def test_a_caller_is_heard_however_its_pauses_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.client.enqueue_events.IDLE", 0.0)
    kv = MemoryBroker().kv
    listening, enqueue_events = EventStream(kv), EnqueueEvents(kv)
    listening.poll()
    asked = [job() for _ in range(30)]
    for each in asked:
        enqueue_events.stored([each])
        time.sleep(0.001)
    heard: set[str] = set()

    def all_heard() -> bool:
        heard.update(event.id for event in listening.poll() if isinstance(event, JobEnqueued))
        return len(heard) == len(asked)

    until(all_heard)
    enqueue_events.close()


def test_kinds_that_are_not_known_here_are_passed_over() -> None:
    kv = MemoryBroker().kv
    listening = EventStream(kv)
    listening.poll()
    newer = msgspec.msgpack.encode([{"kind": "job.transcended", "at": 1.0, "worker": "w"}, JobsLost("w", 1)])
    kv.write(EVENTS, [Entry("=w:000000000001", newer, 60.0), Entry("!w", msgspec.msgpack.encode(1), 60.0)])
    assert [type(event) for event in listening.poll()] == [JobsLost]
