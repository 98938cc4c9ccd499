"""What a worker writes of what it did: counts and latencies by time, failures by kind, and its card."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
import worker_tasks
from waiting import until

from longboat import Failure, Longboat
from longboat.broker import Lease, Settlement
from longboat.brokers.memory import MemoryBroker
from longboat.errors import BrokerUnavailable
from longboat.executor import Call
from longboat.history import EDGES, GRAINS, Tally, bucket_of, failure_groups, slices, workers
from longboat.job import Cancelled, Dead, Done, Outcome, Release, Retry
from longboat.testing.conformance.stage import job
from longboat.worker.recorder import Recorder

pytest_plugins = ["worker_fixtures"]


def settled(outcome: Outcome, task: str = "t", queue: str = "q") -> Settlement:
    return Settlement(Lease(job(task=task, queue=queue), 1, 1), outcome)


def failure(message: str) -> Failure:
    return Failure("ValueError", message, '  File "x.py", line 7, in f\n', 1, time.time(), "w")


def read(board: Any, grain: int = 0) -> dict[tuple[str, str], Tally]:
    found: dict[tuple[str, str], Tally] = {}
    for _, some in slices(board, GRAINS[grain], 0.0, 1e11):
        for name, tally in some.items():
            found.setdefault(name, Tally()).add(tally)
    return found


def test_outcomes_are_counted_in_each_resolution() -> None:
    board = MemoryBroker().board
    recorder = Recorder(board, "w")
    outcomes: list[Outcome] = [Done(b""), Done(b""), Retry(1.0, failure("a")), Dead(failure("a")), Cancelled(failure("c"))]
    recorder.settled(
        [*map(settled, outcomes), settled(Release()), settled(Done(b""), "other"), settled(Done(b""), "t", "p")]
    )
    recorder.tend(time.time())
    for grain in range(len(GRAINS)):
        found = read(board, grain)
        assert found.keys() == {("q", "t"), ("q", "other"), ("p", "t")}
        tally = found["q", "t"]
        assert (tally.succeeded, tally.retried, tally.dead, tally.cancelled) == (2, 1, 1, 1)


def test_buckets_of_time_follow_each_other_and_workers_add_up() -> None:
    board = MemoryBroker().board
    one, other = Recorder(board, "one"), Recorder(board, "other")
    for recorder, now in ((one, 1000.0), (other, 1003.0), (one, 1009.9), (one, 1010.0)):
        recorder.settled([settled(Done(b""))])
        recorder.tend(now)
    found = [(start, some["q", "t"].succeeded) for start, some in slices(board, GRAINS[0], 0.0, 2000.0)]
    assert found == [(1000.0, 3), (1010.0, 1)]
    assert one.totals()["q", "t"].succeeded == 3


def test_totals_tell_what_is_not_written_yet_too() -> None:
    recorder = Recorder(MemoryBroker().board, "w")
    recorder.settled([settled(Done(b""))])
    assert recorder.totals()["q", "t"].succeeded == 1
    recorder.tend(time.time())
    recorder.settled([settled(Done(b""))])
    assert recorder.totals()["q", "t"].succeeded == 2


def test_what_could_not_be_written_is_written_later() -> None:
    broker = MemoryBroker()

    class Failing:
        down = True

        def __getattr__(self, name: str) -> Any:
            if self.down:
                raise BrokerUnavailable("down")
            return getattr(broker.board, name)

    board: Any = Failing()
    recorder = Recorder(board, "w")
    recorder.settled([settled(Done(b""))])
    with pytest.raises(BrokerUnavailable):
        recorder.tend(1000.0)
    board.down = False
    recorder.settled([settled(Done(b""))])
    recorder.tend(1002.0)
    assert read(broker.board)["q", "t"].succeeded == 2


def test_failures_that_are_alike_are_one_group() -> None:
    board = MemoryBroker().board
    recorders = [Recorder(board, "one"), Recorder(board, "other")]
    for place, recorder in enumerate(recorders):
        recorder.settled([settled(Dead(failure(f"no row {place}{n}"))) for n in range(3)])
        recorder.settled([settled(Retry(1.0, failure("another thing")))])
        recorder.tend(time.time())
    groups = {group.message: group for group in failure_groups(board)}
    assert {message: group.count for message, group in groups.items()} == {"no row 12": 6, "another thing": 2}
    assert groups["no row 12"].task == "t"


def test_latencies_land_in_their_buckets_and_samples_stand_for_all() -> None:
    recorder = Recorder(MemoryBroker().board, "w")
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
    assert 2500 < sum(tally.run) <= 5000
    assert EDGES[bucket_of(0.3)] == 0.5
    assert tally.run[bucket_of(0.3)] == sum(tally.run)
    assert tally.wait[bucket_of(0.7)] == sum(tally.wait)


def test_a_worker_writes_what_it_did_and_shows_itself(app: Longboat, tasks: Any) -> None:
    with app.worker(threads=3) as worker:
        held = tasks.hold.enqueue()
        for handle in tasks.add.enqueue_many([(1, 2)] * 20):
            handle.result(10)
        broken = tasks.picky.enqueue("x")
        until(lambda: any(card.running for card in workers(app.broker.board)))
        (card,) = workers(app.broker.board)
        assert (card.name, card.pid, card.stopping) == (worker.name, os.getpid(), False)
        assert [(job_id, task) for job_id, task, _ in card.running] == [(held.id, "hold")]
        assert card.slots["thread"] == 3
        assert card.version
        assert card.consumer in {view.id for view in app.broker.inspector.consumers()}
        until(lambda: read(app.broker.board).get(("default", "add"), Tally()).succeeded == 20)
        worker_tasks.gate.set()
        until(lambda: failure_groups(app.broker.board))
    assert workers(app.broker.board) == [], "who has left is not shown"
    found = read(app.broker.board)
    assert found["default", "hold"].succeeded == 1, "the last ones are written at the end"
    assert found["default", "picky"].dead == 1
    assert sum(found["default", "add"].run) > 0
    (group,) = failure_groups(app.broker.board)
    assert (group.job, group.count) == (broken.id, 1)


def test_counting_from_many_threads_loses_nothing() -> None:
    recorder = Recorder(MemoryBroker().board, "w")

    def count() -> None:
        for _ in range(200):
            recorder.settled([settled(Done(b""))] * 5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        recorder.tend(time.time())
    for thread in threads:
        thread.join()
    assert recorder.totals()["q", "t"].succeeded == 4000
