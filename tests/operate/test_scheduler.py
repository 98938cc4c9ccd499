"""The scheduler beside a memory broker and a clock of its own: each tick once, whoever fires it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from longboat import ConfigError, Limit, Longboat, State, Unique, every
from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.contract.kv import Entry
from longboat.core.job import Done
from longboat.operate import scheduler
from longboat.operate.scheduler import AGAIN, CLAIMS, STATE, Scheduler
from longboat.tasks.schedule import Missed, Schedule, stamp
from longboat.testing.conformance.stage import settle, take

HOUR = 3600.0


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = MemoryBroker()
    yield made
    made.close()


def added(broker: Broker, rule: str = "0 * * * *", **fields: Any) -> Schedule:
    made = Schedule(name="s", rule=rule, task="t", payload=b"\x80", **fields)
    assert scheduler.add(broker, made)
    return made


def ids(broker: Broker) -> list[str]:
    return sorted(view.id for state in State for view in broker.inspector.jobs(state).jobs)


def test_each_tick_is_fired_once_by_many(broker: Broker) -> None:
    added(broker)
    many = [Scheduler(broker) for _ in range(3)]
    for moment in (0.0, 10.0, HOUR - 1, HOUR, HOUR + 1, HOUR + 2, 2 * HOUR, 2 * HOUR + 0.5):
        for each in many:
            each.run(moment)
    assert ids(broker) == ["s@1970-01-01T01:00:00Z", "s@1970-01-01T02:00:00Z"]


def test_each_tick_is_fired_once_where_ids_are_not_recognised(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """And by another one, if who claimed it did not live to fire it."""
    put: list[str] = []
    monkeypatch.setattr(broker, "capabilities", broker.capabilities - {Capability.IDS})
    monkeypatch.setattr(broker, "put", lambda jobs, **_: put.extend(job.id for job in jobs))
    added(broker)
    for each in (first := Scheduler(broker), second := Scheduler(broker)):
        each.run(0.0)
    stale = broker.kv.read(STATE, ["s"])
    for each in (first, second):
        with monkeypatch.context() as patch:
            patch.setattr(broker.kv, "read", lambda *_: stale)  # neither knows yet of the other's
            wake = each.run(HOUR)
    assert put == ["s@1970-01-01T01:00:00Z"]
    assert wake == HOUR + AGAIN
    with monkeypatch.context() as patch:
        patch.setattr(broker, "put", lambda *_: pytest.fail("dies"))
        with contextlib.suppress(BaseException):
            first._fire(first._schedules[0], broker.kv.read(STATE, ["s"])[0], 2 * HOUR)
    assert second.run(2 * HOUR) == 2 * HOUR + AGAIN
    broker.kv.write(CLAIMS, [Entry(key, None) for key, _ in broker.kv.entries(CLAIMS)])  # its time is over
    second.run(2 * HOUR + 2.0)
    assert put[1:] == ["s@1970-01-01T02:00:00Z"]


def test_its_jobs_heed_the_rules_of_their_task(broker: Broker) -> None:
    app = Longboat("memory://")

    @app.schedule(every("10s"), args=("ann",), name="s", overlap="wait")
    @app.task(unique=Unique(by="{user}"), limit=Limit(key="{user}", running=2), fair_by="{user}", name="t")
    def t(user: str) -> None: ...

    each, other = Scheduler(broker, app.registry.schedules), Scheduler(broker, app.registry.schedules)
    for moment in (0.0, 10.0, 20.0):
        each.run(moment)
        other.run(moment)
    (first,) = ids(broker)
    seen = broker.inspector.find([first])[0]
    assert seen is not None
    assert seen.constraints is not None
    assert [limit.key for limit in seen.constraints.limits] == ["t:ann", "schedule:s"]
    assert seen.constraints.fairness_key == "ann"
    assert scheduler.run_now(broker, "s", 21.0) == first
    consumer = broker.consumer([], lease=15.0)
    settle(consumer, take(consumer))
    other.run(30.0)
    assert len(ids(broker)) == 2


def test_it_says_when_it_wants_to_be_called(broker: Broker) -> None:
    assert Scheduler(broker).run(0.0) == scheduler.LOOK
    added(broker, rule="every 1s")
    each = Scheduler(broker)
    assert each.run(10.25) == 11.0
    added_later = Schedule(name="late", rule="every 1s", task="t", payload=b"\x80")
    scheduler.add(broker, added_later)
    each.run(12.0)
    each.run(13.0)
    assert "late@1970-01-01T00:00:13Z" in ids(broker)


def test_what_was_missed_is_made_up_for_as_the_policy_says(broker: Broker) -> None:
    for missed in ("skip", "once", "all"):
        scheduler.add(broker, Schedule(name=missed, rule="0 * * * *", task="t", payload=b"", missed=missed))
    Scheduler(broker).run(0.0)
    Scheduler(broker).run(5.5 * HOUR)
    fired = ids(broker)
    assert [each for each in fired if each.startswith("skip")] == []
    assert [each for each in fired if each.startswith("once")] == ["once@1970-01-01T05:00:00Z"]
    assert len([each for each in fired if each.startswith("all")]) == 5


def test_overlap(broker: Broker) -> None:
    added(broker, overlap="skip")
    scheduler.add(broker, Schedule(name="waits", rule="0 * * * *", task="t", payload=b"", overlap="wait", queue="w"))
    each = Scheduler(broker)
    for hour in range(4):
        each.run(hour * HOUR)
    assert [name for name in ids(broker) if name.startswith("s@")] == ["s@1970-01-01T01:00:00Z"]
    consumer = broker.consumer(["default"], lease=60)
    settle(consumer, take(consumer), Done(b"\xc0"))
    each.run(4 * HOUR)
    assert len([name for name in ids(broker) if name.startswith("s@")]) == 2
    waiting = broker.consumer(["w"], lease=60)
    assert len(waiting.receive(10, wait=0.0)) == 1
    waiting.close()
    consumer.close()


def test_a_pause_is_kept_and_nothing_is_made_up_for(broker: Broker) -> None:
    added(broker, missed="all")
    each = Scheduler(broker)
    each.run(0.0)
    assert scheduler.pause(broker.kv, "s", True, 1.0)
    each.run(2 * HOUR)
    assert ids(broker) == []
    assert scheduler.pause(broker.kv, "s", False, 2.5 * HOUR)
    each.run(3 * HOUR)
    assert ids(broker) == ["s@1970-01-01T03:00:00Z"]
    assert not scheduler.pause(broker.kv, "nobody's", True, 0.0)


def test_declared_ones_are_fired_where_they_stand_in_the_code(broker: Broker) -> None:
    declared = Schedule(name="code", rule="0 * * * *", task="t", payload=b"\x80", declared=True)
    knowing, other = Scheduler(broker, [declared]), Scheduler(broker)
    knowing.run(0.0)
    other.run(HOUR)
    assert ids(broker) == []
    knowing.run(HOUR)
    assert ids(broker) == ["code@1970-01-01T01:00:00Z"]
    scheduler.pause(broker.kv, "code", True, HOUR)
    Scheduler(broker, [declared]).run(HOUR)
    assert [found.paused for _, found in scheduler.stored(broker.kv) if isinstance(found, Schedule)] == [True]
    assert scheduler.remove(broker.kv, "code")
    assert not scheduler.remove(broker.kv, "code")


def code(rule: str = "0 * * * *", name: str = "code", **fields: Any) -> Schedule:
    return Schedule(name=name, rule=rule, task="jobs.report", payload=b"\x80", declared=True, **fields)


DEEP = b"\x81\xa5extra" + b"\x91" * 100_000 + b"\xc0"
BAD: dict[str, tuple[Schedule | bytes, bytes, str]] = {
    "zone": (Schedule(name="a", rule="0 * * * *", tz="Mars/Base", task="t", payload=b"\x80"), b"", "no time zone is named"),
    "rule": (Schedule(name="a", rule="0 0 30 2 *", task="t", payload=b"\x80"), b"", "is no cron expression"),
    "often": (Schedule(name="a", rule="every 1ms", task="t", payload=b"\x80"), b"", "more often than"),
    "bytes": (b"\xc1", b"", "cannot be read here"),
    "deep": (DEEP, b"", "cannot be read here"),
    "state": (Schedule(name="a", rule="0 * * * *", task="t", payload=b"\x80"), b"\xc1", ""),
    "time": (Schedule(name="a", rule="0 * * * *", task="t", payload=b"\x80"), b"\x91\xcb\x7f\xf8" + bytes(6), ""),
}


@pytest.mark.parametrize("what", BAD)
def test_one_that_cannot_be_evaluated_harms_no_other(broker: Broker, what: str, caplog: pytest.LogCaptureFixture) -> None:
    bad, state, problem = BAD[what]
    broker.kv.write(scheduler.NAMESPACE, [Entry("a", bad if isinstance(bad, bytes) else msgspec.msgpack.encode(bad))])
    if state:
        broker.kv.write(scheduler.STATE, [Entry("a", state)])
    added(broker)
    each = Scheduler(broker)
    for moment in (0.0, 10.0, HOUR, HOUR + 5):
        each.run(moment)
    assert "s@1970-01-01T01:00:00Z" in ids(broker)
    shown = scheduler.listed(broker, HOUR)
    assert [each.name for each in shown] == ["a", "s"]
    assert problem in shown[0].problem
    told = [record.getMessage() for record in caplog.records if "schedule a is not fired" in record.getMessage()]
    assert len(told) == (1 if problem else 0), told
    if not problem:  # how far it was fired cannot be read: it begins now
        assert "a@1970-01-01T01:00:00Z" in ids(broker)
    assert scheduler.remove(broker.kv, "a")


def test_one_in_the_code_with_the_name_of_one_added_by_hand(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    added(broker)
    each = Scheduler(broker, [code(name="s"), code()])
    for moment in (0.0, 10.0, HOUR):
        each.run(moment)
    assert ids(broker) == ["code@1970-01-01T01:00:00Z", "s@1970-01-01T01:00:00Z"]
    assert [record.getMessage() for record in caplog.records if "added by hand" in record.getMessage()] != []


@pytest.mark.parametrize(
    ("rule", "becomes", "deployed"),
    [("0 3 * * *", "0 13 * * *", 14.3), ("0 0 * * 1", "every 30s", 24 * 3.5), ("0 9 * * *", "0 5 * * *", 8.0)],
)
@pytest.mark.parametrize("missed", ["once", "all"])
def test_a_changed_rule_fires_nothing_that_is_past(
    broker: Broker, rule: str, becomes: str, deployed: float, missed: Missed
) -> None:
    before = Scheduler(broker, [code(rule, missed=missed)])
    before.run(0.0)
    before.run(3.5 * HOUR)
    known = ids(broker)
    after = Scheduler(broker, [code(becomes, missed=missed)])
    after.run(deployed * HOUR)
    assert ids(broker) == known
    tick = code(becomes).next(deployed * HOUR)[0]
    after.run(tick)
    assert [each for each in ids(broker) if each not in known] == [f"code@{stamp(tick)}"]


def test_what_was_missed_under_the_rule_that_stood_is_made_up_for(broker: Broker) -> None:
    Scheduler(broker, [code("0 3 * * *")]).run(0.0)
    Scheduler(broker, [code("0 13 * * *", tz="Europe/Berlin")]).run(4 * HOUR)
    assert ids(broker) == ["code@1970-01-01T03:00:00Z"]


@pytest.mark.parametrize("task", ["jobs.report", "jobs.other"])
def test_one_that_was_away_starts_anew(broker: Broker, task: str) -> None:
    present = [code(missed="all")]
    Scheduler(broker, present, ["jobs.report"]).run(0.0)
    without = Scheduler(broker, [], [task])
    without.run(5.5 * HOUR)
    back = Scheduler(broker, present, ["jobs.report"])
    back.run(5.6 * HOUR)
    assert ids(broker) == []
    back.run(6 * HOUR)
    assert ids(broker) == ["code@1970-01-01T06:00:00Z"]


@pytest.mark.parametrize(("task", "queue"), [("other.thing", "default"), ("jobs.other", "elsewhere")])
def test_workers_of_other_code_or_queues_do_not_take_it_for_away(broker: Broker, task: str, queue: str) -> None:
    Scheduler(broker, [code()], ["jobs.report"]).run(0.0)
    Scheduler(broker, [], [task], [queue]).run(5.5 * HOUR)
    Scheduler(broker, [code()], ["jobs.report"]).run(5.6 * HOUR)
    assert ids(broker) == ["code@1970-01-01T05:00:00Z"]


def test_a_worker_fires_within_a_second() -> None:
    with Longboat("memory://") as app:
        starts: list[float] = []

        @app.schedule(every("1s"), args=(7,))
        @app.task(name="tick")
        async def tick(n: int) -> int:
            starts.append(time.time())
            return n

        assert app.add_schedule(tick.using(queue="q"), "*/1 * * * * *", name="added", args=(8,))
        assert not app.add_schedule(tick, "* * * * *", name="added", args=(8,))
        gone = Schedule(name="gone", rule="0 0 * * *", task="tick", payload=b"\x80", declared=True)
        app.broker.kv.write(scheduler.NAMESPACE, [Entry("gone", msgspec.msgpack.encode(gone))])
        with app.worker():
            end = time.monotonic() + 8
            while len(starts) < 5 and time.monotonic() < end:
                time.sleep(0.05)
            problems = {each.name: each.problem for each in scheduler.listed(app.broker, time.time())}
        assert len(starts) >= 5
        assert max(start % 1 for start in starts) < 0.9
        names = {view.id.partition("@")[0] for view in app.broker.inspector.jobs(State.SUCCEEDED).jobs}
        assert names == {"tick", "added"}
        assert problems == {"added": "", "tick": "", "gone": "no living worker has it in its code"}
        after = {each.name: each.problem for each in scheduler.listed(app.broker, time.time())}
        assert after["added"] == "no living worker knows task tick"


def test_wrong_schedules_are_refused_in_the_code() -> None:
    app = Longboat("memory://")

    @app.task(name="t")
    def task(n: int) -> None: ...

    with pytest.raises(ConfigError, match="no cron"):
        app.schedule("now and then", args=(1,))(task)
    with pytest.raises(ConfigError, match="needs a task"):
        app.schedule("* * * * *")(len)
    with pytest.raises(TypeError, match="missing"):
        app.schedule("* * * * *")(task)
    app.schedule("0 3 * * *", args=(1,))(task)
    app.schedule("0 3 * * *", args=(1,))(task)
    assert len(app.registry.schedules) == 1
    with pytest.raises(ConfigError, match="two schedules are named 't'"):
        app.schedule("0 13 * * *", args=(1,))(task)
    app.schedule("0 13 * * *", args=(1,), name="later")(task)
