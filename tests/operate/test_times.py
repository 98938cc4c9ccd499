"""Searches for a time: what a text means in which zone, what counts as having run, and how little is looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Settlement
from longboat.core.job import Dead, Done, Failure, Job, Retry, State
from longboat.core.views import JobView
from longboat.errors import ConfigError
from longboat.operate.search import every, parse, search, written
from longboat.operate.times import iso, ran, span_of, told
from longboat.testing.clock import FakeClock

NOW = datetime.fromisoformat("2025-11-29T10:00:00+01:00").timestamp()
NIGHT = datetime.fromisoformat("2025-11-29T03:12:00+01:00").timestamp()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "begin", "seconds"),
    [
        ("03:12", "2025-11-29T03:12:00+01:00", 60),
        ("3:12", "2025-11-29T03:12:00+01:00", 60),
        ("23:59", "2025-11-28T23:59:00+01:00", 60),
        ("03:12:30", "2025-11-29T03:12:30+01:00", 1),
        ("03:12:30.25", "2025-11-29T03:12:30.250+01:00", 0.01),
        ("03:12Z", "2025-11-29T03:12:00Z", 60),
        ("09:30Z", "2025-11-28T09:30:00Z", 60),
        ("23:00-08:00", "2025-11-28T23:00:00-08:00", 60),
        ("2025-11-28", "2025-11-28T00:00:00+01:00", 86400),
        ("2025-11-28Z", "2025-11-28T00:00:00Z", 86400),
        ("2025-10-26", "2025-10-26T00:00:00+02:00", 25 * 3600),
        ("2025-07-01T03:12", "2025-07-01T03:12:00+02:00", 60),
        ("2025-11-29 03:12+0530", "2025-11-29T03:12:00+05:30", 60),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_what_a_time_means(text: str, begin: str, seconds: float) -> None:
    found, wanted = span_of(text, NOW), datetime.fromisoformat(begin).timestamp()
    assert found.begin == wanted
    assert found.end == pytest.approx(wanted + seconds, abs=1e-6)
    assert span_of(iso(found.begin), NOW).begin == found.begin


@pytest.mark.parametrize(
    "text", ["yesterday", "312", "03:1", "24:00", "03:60", "2025-02-30", "03:12+99:00", "9999-12-31", "٠٣:١٢"]
)
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"search: at: .* is not a(?: time: | time such as 03:12)"):
        parse(f"at:{text}")


def test_times_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no time is from 2025-11-28 .* until 2025-11-27 .*write the date"):
        parse("after:2025-11-28 before:2025-11-27")
    with pytest.raises(ConfigError, match="after: needs a value, such as after:03:12"):
        parse("after:")


@pytest.mark.usefixtures("berlin")
def test_the_time_is_told_in_the_local_zone_and_written_for_every_zone() -> None:
    query = parse("at:2025-11-29T03:12 queue:mail")
    assert told(query.since, query.until) == "from 2025-11-29 03:12:00 CET until 2025-11-29 03:13:00 CET"
    assert written(query) == "after:2025-11-29T02:12:00Z before:2025-11-29T02:13:00Z queue:mail"
    assert parse(written(query)) == query
    assert query.words == ["queue", "at", "after", "before"]


def view(state: State, started: float | None = None, ended: float | None = None, *failed: float) -> JobView:
    found = JobView("id", state, "mail", "send", 0, len(failed), b"", enqueued=0.0, started=started, ended=ended)
    found.failures = [Failure("OSError", "", at=at) for at in failed]
    return found


@pytest.mark.parametrize(
    ("job", "found"),
    [
        (view(State.SUCCEEDED, 90, 110), True),
        (view(State.SUCCEEDED, 100, 101), True),
        (view(State.SUCCEEDED, 120, 130), False),
        (view(State.SUCCEEDED, 80, 99), False),
        (view(State.RUNNING, 50), True),
        (view(State.RUNNING, 130), False),
        (view(State.DEAD, 200, 210, 105, 210), True),
        (view(State.DEAD, 200, 210, 95, 210), False),
        (view(State.SCHEDULED, 95, None, 105), True),
        (view(State.READY, 80, None, 90, 130), True),
        (view(State.READY, None, None, 105), True),
        (view(State.READY, None, None), False),
        (view(State.CANCELLED, None, 105), True),
        (view(State.CANCELLED, None, 130), False),
    ],
)
def test_what_ran_then(job: JobView, found: bool) -> None:
    assert ran(job, 100, 120) is found


def at_night() -> MemoryBroker:
    """Jobs ran once in a minute from 03:00 to 03:30; each took 30 s.

    One failed at 03:12 and died at 03:29, one runs since 03:05.
    """
    clock = FakeClock(NIGHT - 12 * 60)
    broker = MemoryBroker(clock=clock)
    consumer = broker.consumer(["mail"], lease=1e6, name="w1")
    for minute in range(30):
        broker.put([Job(1, f"m{minute:02}", "send", b"\x80", "mail")])
        [lease] = consumer.receive(1, wait=0)
        if minute == 5:
            clock.advance(60)
            continue
        clock.advance(30)
        if minute in (12, 29):
            failure = Failure("OSError", "", at=clock.now())
            consumer.settle([Settlement(lease, Dead(failure) if minute == 29 else Retry(3600.0, failure))])
        else:
            consumer.settle([Settlement(lease, Done(b"\xc0"))])
        clock.advance(30)
    return broker


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("at:03:12", "m05 m12"),
        ("at:03:12 state:scheduled", "m12"),
        ("after:03:28 state:succeeded,dead", "m28 m29"),
        ("before:03:02", "m00 m01"),
        ("at:03:07:40", "m05"),
        ("after:03:10 before:03:13 state:succeeded", "m10 m11"),
        ("at:2025-11-30", "m05"),
        ("at:2999-01-01", ""),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_what_ran_at_night_is_found(text: str, ids: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.operate.search.SYSTEM", FakeClock(NOW))
    found = [job.id for jobs in every(at_night(), parse(text), limit=2) for job in jobs]
    assert sorted(found) == ids.split()


def test_nothing_is_looked_at_that_ended_long_before() -> None:
    clock = FakeClock(NIGHT)
    broker = MemoryBroker(clock=clock)
    consumer = broker.consumer(["mail"], lease=1e6, name="w1")
    for number in range(8000):
        broker.put([Job(1, f"m{number:04}", "send", b"\x80", "mail")])
        consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in consumer.receive(1, wait=0)])
        clock.advance(0.1)
    found = search(broker, parse(f"after:{iso(clock.now() - 10.05)}"))
    assert [len(found.jobs), found.after is None] == [50, False]
    found = search(broker, parse(f"after:{iso(clock.now() - 10.05)}"), limit=500)
    assert [len(found.jobs), found.after] == [100, None]
    assert found.looked < 1500
