"""When schedules are due: cron with both changes of daylight saving, periods, and what becomes of missed ticks."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from longboat import ConfigError, Schedule, every
from longboat.tasks.schedule import CATCH_UP, checked, stamp

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(rule: str, **fields: Any) -> Schedule:
    return Schedule(name="s", rule=rule, task="t", payload=b"\x80", **fields)


def at(text: str, tz: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=tz, fold=fold).timestamp()


def local(ticks: list[float]) -> list[str]:
    return [datetime.fromtimestamp(tick, BERLIN).strftime("%d %H:%M%z") for tick in ticks]


def test_daily_at_an_hour_that_a_spring_night_has_not() -> None:
    nightly = schedule("30 2 * * *", tz="Europe/Berlin")
    ticks = nightly.ticks(at("2026-03-27 12:00"), at("2026-03-31 00:00"))
    assert local(ticks) == ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]


def test_daily_at_an_hour_that_an_autumn_night_has_twice() -> None:
    nightly = schedule("30 2 * * *", tz="Europe/Berlin")
    ticks = nightly.ticks(at("2026-10-24 12:00"), at("2026-10-26 12:00"))
    assert local(ticks) == ["25 02:30+0200", "26 02:30+0100"]


def test_every_half_hour_has_no_gap_and_no_double_in_either_night() -> None:
    often = schedule("*/30 * * * *", tz="Europe/Berlin")
    for night in ("2026-03-29", "2026-10-25"):
        ticks = often.ticks(at(f"{night} 00:15"), at(f"{night} 05:45"))
        assert {b - a for a, b in pairwise(ticks)} == {1800.0}, night


def test_a_tick_is_found_from_any_moment_before_it() -> None:
    often = schedule("*/5 * * * *")
    tick = at("2026-11-21 10:05", ZoneInfo("UTC"))
    for before in (299.9, 60, 1, 0.001):
        assert often.ticks(tick - before, tick) == [tick], before
        assert often.next(tick - before) == [tick]
    assert often.ticks(tick, tick + 299) == []
    assert often.next(tick) == [tick + 300]


def test_periods() -> None:
    assert schedule(every("30s")).ticks(0, 100) == [30, 60, 90]
    assert schedule(every("90s")).next(100, 3) == [180, 270, 360]
    assert len(schedule("every 1s").ticks(0, 1e6)) == CATCH_UP
    assert schedule("every 1s").ticks(0, 1e6)[-1] == 1e6


def test_seconds_may_stand_first() -> None:
    assert schedule("*/10 * * * * *").next(0, 3) == [10, 20, 30]


@pytest.mark.parametrize(
    ("missed", "expected"), [("skip", []), ("once", [3600 * 5]), ("all", [3600 * n for n in range(1, 6)])]
)
def test_missed_ticks(missed: Any, expected: list[float]) -> None:
    assert schedule("0 * * * *", missed=missed).due(0, 3600 * 5 + 1800) == expected


def test_a_tick_that_is_a_little_late_is_not_missed() -> None:
    assert schedule("0 * * * *", missed="skip").due(0, 3600 + 30) == [3600]
    assert schedule("every 1s", missed="once").due(0, 3) == [1, 2, 3]


@pytest.mark.parametrize(("missed", "expected"), [("skip", [50]), ("once", [50]), ("all", [*range(5, 55, 5)])])
def test_of_several_that_are_late_the_latest_is_not_missed(missed: Any, expected: list[float]) -> None:
    assert schedule("every 5s", missed=missed).due(0, 50 + 4) == expected


def test_jobs_of_a_tick() -> None:
    job = schedule("0 * * * *", overlap="wait", queue="q", priority=3, expires=60.0).job(3600.0)
    assert job.id == "s@1970-01-01T01:00:00Z" == f"s@{stamp(3600)}"
    assert (job.queue, job.priority, job.expires, job.headers) == ("q", 3, 60.0, {"schedule": "s"})
    assert job.constraints is not None
    assert job.constraints.limits[0].running == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "every day"}, "every"),
        ({"rule": "every 100ms"}, "once a second"),
        ({"rule": "61 * * * *"}, "no cron expression"),
        ({"rule": "* * *"}, "no cron expression"),
        ({"rule": "* * * * *", "tz": "Europe/Atlantis"}, "time zone"),
        ({"rule": "* * * * *", "missed": "never"}, "missed"),
        ({"rule": "* * * * *", "overlap": "never"}, "overlap"),
    ],
)
def test_bad_schedules_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(schedule(**fields))


def test_rules_in_english() -> None:
    assert "Monday" in schedule("*/15 9-17 * * 1-5").explain()
    assert schedule("every 30s").explain() == "every 30s"
