"""What needs attention: each thing that may be stuck is told, once, and nothing else is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.cli import attention as cli
from longboat.contract.broker import Broker, Lease, Settlement
from longboat.contract.kv import Entry
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Dead, Done, Failure, Job, Park, Retry, State
from longboat.dashboard import longboat_dashboard
from longboat.errors import Unsupported
from longboat.executors.contract import Call
from longboat.observe.history import WORKERS, WorkerRecord
from longboat.operate import attention as looking
from longboat.operate import scheduler
from longboat.operate.attention import Item, attention
from longboat.operate.pauses import pause
from longboat.operate.scheduler import Scheduler
from longboat.tasks.schedule import Schedule
from longboat.testing.conformance.stage import job, nothing, settle, take
from longboat.worker.recorder import Recorder
from tests.rigs.dashboard import asking

BOOM = Failure("builtins.ValueError", "it went boom")
TASK = Longboat("memory://").task(name="any")(print)


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = MemoryBroker()
    yield made
    made.close()


def works(
    broker: Broker, *running: tuple[str, str, float], state: str = "working", queues: tuple[str, ...] = ("q",)
) -> None:
    """A living worker says so."""
    now = time.time()
    record = WorkerRecord("w1", "", "h", 1, "1", now, list(queues), ["t", "slow"], {}, list(running), 0, 0, state, id="w1")
    broker.kv.write(WORKERS, [Entry("w1", msgspec.msgpack.encode(record))])


def only(broker: Broker) -> Item:
    found = attention(broker)
    assert (len(found.items), found.unknown) == (1, []), found
    return found.items[0]


def old(made: Job, ago: float = 7200.0) -> Job:
    return replace(made, enqueued=time.time() - ago)


def ran(broker: Broker, task: str, seconds: float, count: int) -> None:
    """So many attempts of the task have ended just now, each after so many seconds."""
    recorder = Recorder(broker.kv, "w1")
    for _ in range(count):
        call = Call(Lease(job(task=task), 1, 1), TASK)
        call.started = time.monotonic() - seconds
        recorder.seen += 1
        recorder.sample(call)
        recorder.settled([Settlement(call.lease, Done(b"\xc0"))])
    recorder.run(time.time())


def test_all_is_well(broker: Broker) -> None:
    works(broker, ("j1", "slow", time.time() - 55))
    ran(broker, "slow", 40, 30)
    parent = job()
    broker.put([parent, job(delay=60.0), job(constraints=Constraints(after=[parent.id])), old(job(delay=7199.0))])
    pause(broker.kv, "queue", "empty", True)
    scheduler.add(broker, Schedule(name="s", rule="every 1s", task="t", payload=b"\xc0"))
    Scheduler(broker).run(time.time())
    broker.inspector.purge([State.READY], queue="default")
    assert attention(broker) == looking.Attention()


def test_queues_that_nobody_serves(broker: Broker) -> None:
    broker.put([job(), job(queue="p"), job(queue="p")])
    pause(broker.kv, "queue", "p", True)
    assert [(each.kind, each.what, each.queue) for each in attention(broker).items] == [
        ("paused", "queue p is paused and holds 2 jobs", "p"),
        ("no worker", "queue q has 1 ready job and no living worker", "q"),
    ]
    pause(broker.kv, "queue", "p", False)
    works(broker, state="quiet", queues=())
    assert [each.what for each in attention(broker).items] == [
        f"queue {name} has {ready} and 1 worker but quiet: told to take no more jobs"
        for name, ready in (("p", "2 ready jobs"), ("q", "1 ready job"))
    ]


def test_schedules_that_are_not_fired(broker: Broker) -> None:
    now = time.time()
    works(broker)
    for name, task in (("late", "t"), ("paused", "t"), ("nobody's", "gone")):
        scheduler.add(broker, Schedule(name=name, rule="every 10s", task=task, payload=b"\xc0", queue="q"))
    Scheduler(broker).run(now - 400)
    scheduler.pause(broker.kv, "paused", True, now)
    first, second = attention(broker).items
    assert first.what.startswith("schedule late: missed its tick 7 m ago")
    assert first.since == pytest.approx(now - 395, abs=5.1)
    assert second.what.endswith("ago: no living worker knows task gone")
    Scheduler(broker).run(now)
    assert only(broker).what == "schedule nobody's: no living worker knows task gone"


def test_jobs_that_run_for_too_long(broker: Broker) -> None:
    now = time.time()
    works(
        broker,
        ("stuck", "slow", now - 5000),
        ("late", "slow", now - 90),
        ("fine", "slow", now - 70),
        ("new", "t", now - 9000),
    )
    found = attention(broker)
    assert not found.items
    assert [text.partition(" is not known: ")[0] for text in found.unknown] == [
        "whether job stuck, running for 1 h 23 m, is stuck",
        "whether job new, running for 2 h 30 m, is stuck",
    ]
    ran(broker, "slow", 40, 30)
    (item,) = attention(broker).items
    assert item.what.startswith("2 jobs of task slow run for too long: stuck on w1 for 1 h 23 m; 99 % take less than ")
    assert (item.kind, item.job) == ("running", "stuck")
    assert item.since == pytest.approx(now - 5000)


def test_jobs_that_are_retried_for_ever(broker: Broker) -> None:
    works(broker)
    broker.put([job(task="t"), job(task="t")])
    consumer = broker.consumer(["q"], lease=60)
    first = take(consumer)
    settle(consumer, take(consumer), Retry(600.0, BOOM))
    lease = first
    for attempt in range(1, 12):
        settle(consumer, lease, Retry(0.0 if attempt < 11 else 600.0, BOOM))
        lease = take(consumer) if attempt < 11 else lease
    assert only(broker).what == (
        f"1 job of task t failed 10 times or more and will be tried again: {first.job.id} failed 11 times: "
        "builtins.ValueError: it went boom"
    )


def test_jobs_that_are_held(broker: Broker) -> None:
    works(broker)
    parent = job(task="parent")
    one = Constraints(limits=[JobLimit("k", running=1)])
    broker.put(
        [parent, *(old(job(constraints=one)) for _ in range(3)), old(job(constraints=Constraints(after=[parent.id])))]
    )
    consumer = broker.consumer(["q"], lease=60)
    settle(consumer, take(consumer), Dead(BOOM))
    take(consumer)
    nothing(consumer)
    first, second = attention(broker).items
    assert first.what.startswith("2 jobs held for over an hour, t ")
    assert " for 2 h 0 m: limit k is reached: 1 running (" in first.what
    assert second.what.endswith(f"it is waiting for parent {parent.id}, which is dead: retry that one")
    assert second.kind == "held"
    assert second.since == pytest.approx(time.time() - 7200, abs=60)


def test_it_looks_at_so_many_jobs(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    works(broker)
    broker.put([job(delay=600.0) for _ in range(9)])
    broker.put([job(queue=f"q{n}") for n in range(30)])
    for name, value in (("LOOKED_AT", 4), ("PAGE", 2)):
        monkeypatch.setattr(looking, name, value)
    broker.put([job(delay=9000.0)])
    found = attention(broker)
    assert found.unknown == ["only the first 4 scheduled jobs were looked at"]
    assert (len(found.items), found.items[-1].what) == (21, "10 more of this kind")


def test_what_need_not_be_looked_at_is_not_told(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a job that is held for a minute, and one that is due in two hours, there is nothing to find."""
    works(broker)
    parent = job()
    after = Constraints(after=[parent.id])
    broker.put([parent, *(old(job(constraints=after), 60.0) for _ in range(9)), *(job(delay=7200.0) for _ in range(9))])
    for name, value in (("LOOKED_AT", 4), ("PAGE", 2)):
        monkeypatch.setattr(looking, name, value)
    assert attention(broker) == looking.Attention()


def test_pauses_of_tasks_and_of_single_jobs(broker: Broker) -> None:
    works(broker)
    one = Constraints(limits=[JobLimit("acme", running=9)])
    broker.put([job(), job(constraints=one)])
    consumer = broker.consumer(["q"], lease=60)
    for _ in range(2):
        settle(consumer, take(consumer), Park(7200.0, BOOM))
    pause(broker.kv, "task", "t", True)
    pause(broker.kv, "task", "idle", True)
    pause(broker.kv, "limit", "ac*", True)
    whole, single = attention(broker).items
    assert whole.what == "task t is paused and holds 2 jobs"
    assert (single.kind, single.what) == ("paused", "jobs of limit ac* are paused: 1 job")


def test_it_explains_so_many_jobs(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    works(broker)
    broker.put([old(job(constraints=Constraints(limits=[JobLimit(f"k{n // 2}", running=1)]))) for n in range(60)])
    consumer = broker.consumer(["q"], lease=60)
    assert len(consumer.receive(30, wait=0)) == 30
    nothing(consumer)
    explained: list[str] = []

    def explain(_: Broker, job_id: str) -> str:
        explained.append(job_id)
        return "why"

    monkeypatch.setattr(looking, "explain", explain)
    assert attention(broker).items[-1].what == "10 more of this kind"
    assert len(explained) == 20


def test_what_a_broker_cannot_tell_is_said(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Unsupported("it lists no jobs")

    broker.put([job()])
    pause(broker.kv, "task", "t", True)
    monkeypatch.setattr(broker.inspector, "jobs", refuse)
    found = attention(broker)
    assert [each.kind for each in found.items] == ["no worker"]
    assert found.unknown == [
        "whether a job is retried for ever is not known: it lists no jobs",
        "whether a pause holds jobs is not known: it lists no jobs",
        "whether a job is held is not known: it lists no jobs",
    ]


def test_the_command_the_page_and_the_api_tell_it(tmp_path: Path) -> None:
    app = Longboat(url := f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    app.broker.kv.write("any", [Entry("x", b"")])  # there is a file
    run = CliRunner().invoke
    fine = run(cli.command, ["--url", url], standalone_mode=False)
    assert (fine.output, fine.return_value) == ("nothing needs attention\n", 0)
    app.broker.put([job()])
    found = run(cli.command, ["--url", url], standalone_mode=False)
    assert (found.output, found.return_value) == ("no worker  queue q has 1 ready job and no living worker\n", 5)
    told = json.loads(run(cli.command, ["--json", "--url", url], standalone_mode=False).output)
    dashboard = longboat_dashboard(app, local_role="viewer")
    with asking(dashboard) as page:
        assert page.get("/api/v1/attention").json() == told
        assert 'href="/queues/q">queue q has 1 ready job and no living worker</a>' in page.get("/attention").text
    dashboard.close()
    app.close()
    assert told["items"][0]["kind"] == "no worker"
    assert told["unknown"] == []
