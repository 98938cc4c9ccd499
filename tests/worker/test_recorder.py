"""What a worker writes of what it did: counts and latencies by time, failures by kind, and its card."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import msgspec
import pytest

from longboat import Failure, Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.client.enqueue_events import NAMES
from longboat.contract.broker import Lease, Settlement
from longboat.contract.kv import Entry
from longboat.core.job import Cancelled, Dead, Done, Outcome, Release, Retry
from longboat.errors import BrokerUnavailable
from longboat.executors.contract import Call
from longboat.observe.history import (
    FAILURES,
    GRAINS,
    WORKERS,
    failure_groups,
    fingerprint,
    slices,
    workers,
)
from longboat.observe.metrics import OTHER
from longboat.observe.sketch import quantile
from longboat.observe.tally import Tally
from longboat.testing.conformance.stage import job
from longboat.worker.failures import GROUPS
from longboat.worker.recorder import BEHIND, Recorder
from tests.apps import worker_tasks
from tests.rigs.waiting import until


def settled(outcome: Outcome, task: str = "t", queue: str = "q") -> Settlement:
    return Settlement(Lease(job(task=task, queue=queue), 1, 1), outcome)


def failure(message: str) -> Failure:
    return Failure("ValueError", message, '  File "x.py", line 7, in f\n', 1, time.time(), "w")


def read(kv: Any, grain: int = 0) -> dict[tuple[str, str], Tally]:
    found: dict[tuple[str, str], Tally] = {}
    for _, some in slices(kv, GRAINS[grain], 0.0, 1e11):
        for name, tally in some.items():
            found.setdefault(name, Tally()).add(tally)
    return found


def test_outcomes_are_counted_in_each_resolution() -> None:
    kv = MemoryBroker().kv
    recorder = Recorder(kv, "w")
    outcomes: list[Outcome] = [Done(b""), Done(b""), Retry(1.0, failure("a")), Dead(failure("a")), Cancelled(failure("c"))]
    recorder.settled(
        [*map(settled, outcomes), settled(Release()), settled(Done(b""), "other"), settled(Done(b""), "t", "p")]
    )
    recorder.run(time.time())
    for grain in range(len(GRAINS)):
        found = read(kv, grain)
        assert found.keys() == {("q", "t"), ("q", "other"), ("p", "t")}
        tally = found["q", "t"]
        assert (tally.succeeded, tally.retried, tally.dead, tally.cancelled) == (2, 1, 1, 1)


def test_buckets_of_time_follow_each_other_and_workers_add_up() -> None:
    kv = MemoryBroker().kv
    one, other = Recorder(kv, "one"), Recorder(kv, "other")
    for recorder, now in ((one, 1000.0), (other, 1003.0), (one, 1009.9), (one, 1010.0)):
        recorder.settled([settled(Done(b""))])
        recorder.run(now)
    found = [(start, some["q", "t"].succeeded) for start, some in slices(kv, GRAINS[0], 0.0, 2000.0)]
    assert found == [(1000.0, 3), (1010.0, 1)]
    assert one.totals()["q", "t"].succeeded == 3


def test_totals_tell_what_is_not_written_yet_too() -> None:
    recorder = Recorder(MemoryBroker().kv, "w")
    recorder.settled([settled(Done(b""))])
    assert recorder.totals()["q", "t"].succeeded == 1
    recorder.run(time.time())
    recorder.settled([settled(Done(b""))])
    assert recorder.totals()["q", "t"].succeeded == 2


class Failing:
    """A board that is down, or that takes so many writes more."""

    def __init__(self) -> None:
        self.kv = MemoryBroker().kv
        self.left = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("write", "compare_and_set", "put_if_absent"):
            self.left -= 1
        if self.left < 0:
            raise BrokerUnavailable("down")
        return getattr(self.kv, name)


def test_what_could_not_be_written_is_written_later() -> None:
    kv: Any = Failing()
    recorder = Recorder(kv, "w")
    for now in (1000.0, 1002.0, 1015.0):
        recorder.settled([settled(Done(b""))])
        with pytest.raises(BrokerUnavailable):
            recorder.run(now)
    kv.left = 100
    recorder.settled([settled(Done(b""))])
    recorder.run(1030.0)
    found = [(start, some["q", "t"].succeeded) for start, some in slices(kv.kv, GRAINS[0], 0.0, 2000.0)]
    assert found == [(1000.0, 2), (1010.0, 1), (1030.0, 1)]
    assert read(kv.kv, 2)["q", "t"].succeeded == 4


def test_a_long_outage_does_not_fill_the_memory() -> None:
    kv: Any = Failing()
    recorder = Recorder(kv, "w")
    for place in range(200):
        recorder.settled([settled(Dead(failure(" ".join("abcdefgh"[: place % 8]) + "xyz" * place)))] * 2)
        with pytest.raises(BrokerUnavailable):
            recorder.run(1000.0 + 10 * place)
    assert len(recorder._unwritten) <= BEHIND
    assert len(recorder._failures._waiting) <= GROUPS


def test_failures_that_could_not_be_written_are_written_later() -> None:
    kv: Any = Failing()
    recorder = Recorder(kv, "w")
    recorder.settled([settled(Dead(failure("a thing"))), settled(Dead(failure("another thing")))])
    kv.left = 4  # each resolution, and one of the groups
    with pytest.raises(BrokerUnavailable):
        recorder.run(time.time())
    recorder.settled([settled(Dead(failure("another thing")))])
    kv.left = 100
    recorder.run(time.time())
    assert {group.message: group.count for group in failure_groups(kv)} == {"a thing": 1, "another thing": 2}


def test_a_worker_that_is_restarted_under_its_name_overwrites_nothing() -> None:
    kv = MemoryBroker().kv
    for _ in range(3):
        recorder = Recorder(kv, "host:1")
        recorder.settled([settled(Done(b""))])
        recorder.run(1000.0)
    for grain in range(len(GRAINS)):
        assert read(kv, grain)["q", "t"].succeeded == 3


def test_a_clock_that_is_set_back_overwrites_nothing() -> None:
    kv = MemoryBroker().kv
    recorder = Recorder(kv, "w")
    for now in (3595.0, 3601.0, 3598.0, 3602.0):
        recorder.settled([settled(Done(b""))])
        recorder.run(now)
    for grain in range(len(GRAINS)):
        assert read(kv, grain)["q", "t"].succeeded == 4


def test_names_of_many_bytes_fit_an_entry() -> None:
    """A write that is refused would be tried for ever, and nothing be counted any more."""
    kv = MemoryBroker().kv
    recorder = Recorder(kv, "w")
    for place in range(NAMES):
        name = f"{place}" + "\N{SHIP}" * 250
        recorder.settled([settled(Done(b""), name, name)])
    recorder.run(time.time())
    found = read(kv)
    assert 100 < len(found) < NAMES
    assert sum(tally.succeeded for tally in found.values()) == NAMES


def test_queues_without_number_are_counted_together() -> None:
    kv = MemoryBroker().kv
    recorder = Recorder(kv, "w")
    for place in range(NAMES + 50):
        recorder.settled([settled(Done(b""), queue=f"of customer {place}")])
        if place % 300 == 0:
            recorder.run(1000.0)
    recorder.run(1000.0)
    found = read(kv)
    assert len(found) == len(recorder.totals()) == NAMES + 1
    assert found[OTHER, OTHER].succeeded == 50
    assert sum(tally.succeeded for tally in found.values()) == NAMES + 50


def test_failures_that_all_differ_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    kv = MemoryBroker().kv
    monkeypatch.setattr("longboat.worker.failures.PRUNE_EVERY", 0.0)
    monkeypatch.setattr("longboat.worker.failures.FAILURES_MOST", 30)
    recorder = Recorder(kv, "w")
    for fairness_key in range(3):
        for place in range(20):
            told = failure("x" * (fairness_key * 20 + place + 1))
            told.at = 1000.0 + fairness_key
            recorder.settled([settled(Dead(told))])
        recorder.run(time.time())
    groups = failure_groups(kv)
    assert len(groups) == 30
    assert [group.last for group in groups[:20]] == [1002.0] * 20, "those seen last stay"


def test_messages_that_differ_by_numbers_ids_and_names_in_quotes_are_alike() -> None:
    messages = [
        "no file 'a b' for 7f3c2a1b-12ab-4cde-89ab-0123456789ab at 0x7f11 (deadbeef)",
        "no file 'c' for ffffffff-0000-1111-2222-abcdef012345 at 0x1a (cafebabe)",
    ]
    assert len({fingerprint("t", failure(message)) for message in messages}) == 1
    assert fingerprint("t", failure("x")) != fingerprint("u", failure("x"))
    began = time.monotonic()
    fingerprint("t", failure("a" * 1_000_000))
    assert time.monotonic() - began < 0.5


def test_notes_of_another_version_are_passed_over() -> None:
    kv = MemoryBroker().kv
    recorder = Recorder(kv, "w")
    recorder.settled([settled(Dead(failure("a thing")))])
    recorder.run(1000.0)
    (known,) = failure_groups(kv)
    broken = msgspec.msgpack.encode({"a": 1})
    kv.write(GRAINS[0].namespace, [Entry("000000001000:other", broken)])
    kv.write(WORKERS, [Entry("other", broken)])
    kv.write(FAILURES, [Entry("other", broken), Entry(known.fingerprint, broken)])
    assert read(kv)["q", "t"].dead == 1
    assert not workers(kv)
    assert not failure_groups(kv)
    recorder.settled([settled(Dead(failure("a thing")))])
    recorder.run(1002.0)
    assert [group.count for group in failure_groups(kv)] == [1]


def test_a_bucket_belongs_to_a_span_by_its_start() -> None:
    kv = MemoryBroker().kv
    recorder = Recorder(kv, "w")
    recorder.settled([settled(Done(b""))])
    recorder.run(1010.0)

    def starts(since: float, until_: float) -> list[float]:
        return [start for start, _ in slices(kv, GRAINS[0], since, until_)]

    assert starts(1010.0, 1010.5) == [1010.0]
    assert starts(1009.5, 1011.0) == [1010.0]
    assert starts(1010.5, 1020.0) == starts(1000.0, 1010.0) == []


def test_failures_that_are_alike_are_one_group() -> None:
    kv = MemoryBroker().kv
    recorders = [Recorder(kv, "one"), Recorder(kv, "other")]
    for place, recorder in enumerate(recorders):
        recorder.settled([settled(Dead(failure(f"no row {place}{n}"))) for n in range(3)])
        recorder.settled([settled(Retry(1.0, failure("another thing")))])
        recorder.run(time.time())
    groups = {group.message: group for group in failure_groups(kv)}
    assert {message: group.count for message, group in groups.items()} == {"no row 12": 6, "another thing": 2}
    assert groups["no row 12"].task == "t"


def test_latencies_land_in_their_buckets_and_samples_stand_for_all() -> None:
    recorder = Recorder(MemoryBroker().kv, "w")
    app = Longboat("memory://")
    task = worker_tasks.declare(app).add
    for _ in range(5000):
        recorder.seen += 1
        if recorder.seen >= recorder.next_sample:
            asked = job(task="t", queue="q")
            asked.enqueued = time.time() - 1.0
            call = Call(Lease(asked, 1, 1), task)
            call.started = time.monotonic() - 0.3
            recorder.sample(call)
    tally = recorder.totals()["q", "t"]
    assert 4990 < sum(tally.run.values()) == sum(tally.wait.values()) <= 5000
    assert quantile(tally.run, 0.5) == pytest.approx(0.3, rel=0.02)
    assert quantile(tally.wait, 0.5) == pytest.approx(0.7, rel=0.02)


def test_a_worker_writes_what_it_did_and_shows_itself(app: Longboat, tasks: Any) -> None:
    with app.worker(threads=3) as worker:
        held = tasks.hold.enqueue()
        for handle in tasks.add.enqueue_many([(1, 2)] * 20):
            handle.result(10)
        broken = tasks.picky.enqueue("x")
        until(lambda: any(record.running for record in workers(app.broker.kv)))
        (record,) = workers(app.broker.kv)
        assert (record.name, record.pid, record.state) == (worker.name, os.getpid(), "working")
        assert [(job_id, task) for job_id, task, _ in record.running] == [(held.id, "hold")]
        assert record.slots["thread"] == 3
        assert record.version
        assert record.consumer in {view.id for view in app.broker.inspector.consumers()}
        until(lambda: read(app.broker.kv).get(("default", "add"), Tally()).succeeded == 20)
        worker_tasks.limit.set()
        until(lambda: failure_groups(app.broker.kv))
    assert workers(app.broker.kv) == [], "who has left is not shown"
    found = read(app.broker.kv)
    assert found["default", "hold"].succeeded == 1, "the last ones are written at the end"
    assert found["default", "picky"].dead == 1
    assert sum(found["default", "add"].run.values()) > 0
    (group,) = failure_groups(app.broker.kv)
    assert (group.job, group.count) == (broken.id, 1)


def test_counting_from_many_threads_loses_nothing() -> None:
    recorder = Recorder(MemoryBroker().kv, "w")

    def count() -> None:
        for _ in range(200):
            recorder.settled([settled(Done(b""))] * 5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        recorder.run(time.time())
    for thread in threads:
        thread.join()
    assert recorder.totals()["q", "t"].succeeded == 4000
