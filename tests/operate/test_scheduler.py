"""The scheduler beside a memory broker and a clock of its own: each tick once, whoever fires it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from longboat import ConfigError, Longboat, State, every
from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker
from longboat.core.job import Done
from longboat.operate import scheduler
from longboat.operate.scheduler import Scheduler
from longboat.tasks.schedule import Schedule
from longboat.testing.conformance.stage import settle, take

HOUR = 3600.0


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = MemoryBroker()
    yield made
    made.close()


def added(broker: Broker, rule: str = "0 * * * *", **fields: Any) -> Schedule:
    made = Schedule(name="s", rule=rule, task="t", payload=b"\x80", **fields)
    assert scheduler.add(broker.kv, made)
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


def test_it_says_when_it_wants_to_be_called(broker: Broker) -> None:
    assert Scheduler(broker).run(0.0) == scheduler.LOOK
    added(broker, rule="every 1s")
    each = Scheduler(broker)
    assert each.run(10.25) == 11.0
    added_later = Schedule(name="late", rule="every 1s", task="t", payload=b"\x80")
    scheduler.add(broker.kv, added_later)
    each.run(12.0)
    each.run(13.0)
    assert "late@1970-01-01T00:00:13Z" in ids(broker)


def test_what_was_missed_is_made_up_for_as_the_policy_says(broker: Broker) -> None:
    for missed in ("skip", "once", "all"):
        scheduler.add(broker.kv, Schedule(name=missed, rule="0 * * * *", task="t", payload=b"", missed=missed))
    Scheduler(broker).run(0.0)
    Scheduler(broker).run(5.5 * HOUR)
    fired = ids(broker)
    assert [each for each in fired if each.startswith("skip")] == []
    assert [each for each in fired if each.startswith("once")] == ["once@1970-01-01T05:00:00Z"]
    assert len([each for each in fired if each.startswith("all")]) == 5


def test_overlap(broker: Broker) -> None:
    added(broker, overlap="skip")
    scheduler.add(broker.kv, Schedule(name="waits", rule="0 * * * *", task="t", payload=b"", overlap="wait", queue="w"))
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
    assert scheduler.schedules(broker.kv)[0].paused
    added(broker)
    with pytest.raises(ConfigError, match="one that was added"):
        Scheduler(broker, [Schedule(name="s", rule="0 * * * *", task="t", payload=b"", declared=True)]).run(0.0)
    assert scheduler.remove(broker.kv, "s")
    assert not scheduler.remove(broker.kv, "s")


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
        with app.worker():
            end = time.monotonic() + 8
            while len(starts) < 5 and time.monotonic() < end:
                time.sleep(0.05)
        assert len(starts) >= 5
        assert max(start % 1 for start in starts) < 0.9
        names = {view.id.partition("@")[0] for view in app.broker.inspector.jobs(State.SUCCEEDED).jobs}
        assert names == {"tick", "added"}


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
