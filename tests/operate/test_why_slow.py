"""Why a queue is slow, in one sentence, for each reason there is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.cli import explain, queues
from longboat.contract.broker import Broker
from longboat.contract.kv import Entry
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Failure, Park, State
from longboat.dashboard import longboat_dashboard
from longboat.observe import depth
from longboat.observe.drain import drains
from longboat.observe.history import WORKERS, WorkerRecord
from longboat.observe.numbers import numbers
from longboat.operate import held, why_slow
from longboat.operate.pauses import pause, paused
from longboat.operate.why_slow import QueueNow
from longboat.testing.conformance.stage import job, nothing, settle, take
from tests.rigs.dashboard import asking

BOOM = Failure("longboat.UnknownTask", "nobody knows it")


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = MemoryBroker()
    yield made
    made.close()


def now(broker: Broker, queue: str = "q") -> QueueNow:
    found = numbers(broker)
    told = why_slow.why_slow(broker, queue, found, drains(broker, found, time.time())[queue])
    assert "\n" not in told.why
    return told


def hold(broker: Broker, count: int = 3) -> None:
    """A limit is reached: one job of the queue runs, the others are held."""
    one = Constraints(limits=[JobLimit("k", running=1)])
    broker.put([job(constraints=one, enqueued=time.time() - 90) for _ in range(count)])
    consumer = broker.consumer(["q"], lease=60)
    take(consumer)
    nothing(consumer)


def test_a_limit_holds_it(broker: Broker) -> None:
    hold(broker)
    depth.sample(broker, time.time() - 10)
    told = now(broker)
    limit, counts, oldest, workers, rates, outlook = told.why.split("; ")
    assert limit.startswith("limit k is reached: 1 running (")
    assert limit.endswith("), 2 waiting")
    assert (counts, workers, rates) == ("0 ready, 2 held, 1 running", "1 worker serves it", "in 0/s, out 0/s")
    assert oldest == "the oldest has waited 2 m"
    assert outlook.startswith("never empty at this rate: nothing has ended in the last ")
    assert told.oldest is not None, "although none is ready"


def test_a_limit_that_has_room_again(broker: Broker) -> None:
    """Those that it held come back to their queue once somebody receives."""
    broker.put([job(constraints=Constraints(limits=[JobLimit("k", running=1)])) for _ in range(3)])
    consumer = broker.consumer(["q"], lease=60)
    lease = take(consumer)
    nothing(consumer)
    settle(consumer, lease)
    assert now(broker).why.startswith("limit k has room: 0 running, 1 waiting; 1 ready, 1 held, 0 running; ")


def test_nobody_serves_it_or_it_is_paused(broker: Broker) -> None:
    broker.put([job(), job(queue="p")])
    pause(broker.kv, "queue", "p", True)
    assert now(broker).why.startswith("no living worker serves queue q; 1 ready, 0 held, 0 running; ")
    assert now(broker).drain.outlook == "never empty: no worker serves it"
    assert now(broker, "p").why.startswith("queue p is paused; no living worker serves queue p; ")
    both = why_slow.stop(broker, drains(broker, numbers(broker), time.time()))
    assert [both[name].outlook for name in "qp"] == ["never empty: no worker serves it", "never empty: it is paused"]


def test_all_slots_are_in_use(broker: Broker) -> None:
    broker.put([job()])
    for name, busy in (("w1", 3), ("w2", 4)):
        record = WorkerRecord(name, "", "h", 1, "1", time.time(), ["q"], [], {"async": 9, "thread": 4}, [], 0, 0, id=name)
        record.in_use = {"async": 8, "thread": busy}
        broker.kv.write(WORKERS, [Entry(name, msgspec.msgpack.encode(record))])
        assert "slots are in use" not in now(broker).why
    record.in_use = {"async": 1, "thread": 4}
    broker.kv.write(WORKERS, [Entry("w1", msgspec.msgpack.encode(record))])
    assert "; 2 workers serve it; all 8 thread slots are in use; " in now(broker).why


def test_what_keeps_jobs_is_told_cause_by_cause(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(broker, 2)
    parent = job(queue="other")
    broker.put([parent, *(job(constraints=Constraints(after=[parent.id])) for _ in range(3))])
    broker.put([job(task="slept"), job(task="new")])
    consumer = broker.consumer(["q"], lease=60)
    for _ in range(2):
        settle(consumer, take(consumer), Park(60.0, BOOM))
    pause(broker.kv, "task", "slept", True)
    found = held.groups(broker, broker.inspector.jobs(State.WAITING, queue="q").jobs, paused(broker.kv))
    assert [group.why.partition(":")[0] for group in found] == [
        "3 jobs waiting for other jobs to succeed",
        "limit k is reached",
        "1 job waiting because task slept is paused",
        "1 job waiting for a worker that can run task new",
    ]
    assert "; 1 more cause; " in now(broker).why
    monkeypatch.setattr(why_slow, "LOOKED_AT", 2)
    assert now(broker).why.startswith("limit k is reached: ")
    assert "of the oldest 2 waiting jobs 1 job waiting for other jobs" in now(broker).why


def test_a_page_the_api_and_the_command_line_tell_it(tmp_path: Path) -> None:
    app = Longboat(url := f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    hold(app.broker)
    dashboard = longboat_dashboard(app, local_role="viewer")
    with asking(dashboard) as page:
        found = page.get("/api/v1/queues/q").json()
        assert found["why"].startswith("limit k is reached: ")
        assert (found["waiting"], found["workers"], found["empty_in"]) == (2, 1, None)
        assert f'<p class="why">L{found["why"][1:20]}' in page.get("/queues/q").text
        assert page.get("/api/v1/queues/nobody").status_code == 404
        (row,) = page.get("/api/v1/queues").json()
        assert row["oldest"] is not None
    dashboard.close()
    run = CliRunner().invoke
    assert run(explain.command, ["--queue", "q", "--url", url]).output.startswith("limit k is reached: ")
    told = json.loads(run(explain.command, ["--queue", "q", "--json", "--url", url]).output)
    assert (told["queue"], told["workers"], told["out"]) == ("q", 1, 0.0)
    assert run(explain.command, ["--url", url]).exit_code == 2
    assert "there is no queue 'nobody'" in str(run(explain.command, ["--queue", "nobody", "--url", url]).exception)
    row = json.loads(run(queues.command, ["--json", "--url", url]).output)
    assert (row["waiting"], row["out"], row["empty_in"]) == (2, 0.0, None)
    assert row["outlook"].startswith("how long it takes is not known")
    app.close()
