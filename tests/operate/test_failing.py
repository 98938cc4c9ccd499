"""What fails most since the deploy: marks of deploys, how often something failed by time, and what is new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.contract.kv import KV
from longboat.errors import ConfigError
from longboat.observe import deploys, history
from longboat.observe.deploys import Deploy, mark, mark_worker
from longboat.observe.history import FailureGroup
from longboat.observe.trend import STEPS, Trend, added, count_since, points
from longboat.operate.failing import chosen, data, failing
from longboat.operate.search import parse
from longboat.testing.clock import FakeClock
from tests.rigs.waiting import until

HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock(1_000_000.0)
    monkeypatch.setattr(deploys, "SYSTEM", clock)
    return clock


@pytest.fixture
def kv() -> KV:
    return MemoryBroker().kv


def versions(kv: KV) -> list[str]:
    return [deploy.version for deploy in deploys.deploys(kv)]


def test_marks_are_kept_newest_first_and_no_more_than_their_number(
    kv: KV, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploys, "MOST", 3)
    for version in ("v1", "v2", "v2", "v1", "v3"):
        clock.advance(1)
        made = mark(kv, version, "ann@web-1")
    assert made == Deploy("v3", clock.now(), "ann@web-1")
    assert versions(kv) == ["v3", "v1", "v2"]
    assert len(kv.entries(deploys.NAMESPACE)) == 3
    for wrong in ("", "x" * 101, "a\nb"):
        with pytest.raises(ConfigError, match="1 to 100 printable characters"):
            mark(kv, wrong, "")


def test_the_first_worker_of_a_version_marks_it(kv: KV, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    living: list[str] = []
    record = history.WorkerRecord("w", "", "", 0, "", 0.0, [], [], {}, [], 0, 0)

    def begin(version: str, *others: str) -> None:
        clock.advance(1)
        living[:] = others
        mark_worker(kv, version, "worker w")

    monkeypatch.setattr(deploys, "workers", lambda _: [replace(record, app_version=version) for version in living])
    begin("v1")
    begin("v1")
    begin("v2", "v1")
    begin("v1", "v1", "v2")  # one of the old ones is started again during the deploy
    assert versions(kv) == ["v2", "v1"]
    begin("v1", "v2")  # all back
    assert versions(kv) == ["v1", "v2", "v1"]


def test_workers_that_begin_together_mark_once(kv: KV, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    mark(kv, "v1", "")
    before = deploys.deploys(kv)
    monkeypatch.setattr(deploys, "deploys", lambda _: before)  # both have looked before either has marked
    for _ in range(2):
        clock.advance(1)
        mark_worker(kv, "v2", "worker w")
    monkeypatch.undo()
    assert versions(kv) == ["v2", "v1"]


@given(st.lists(st.tuples(st.floats(0, 3 * 86400), st.integers(1, 5)), max_size=60))
def test_a_trend_counts_all_that_happened(happened: list[tuple[float, int]]) -> None:
    trend: Trend = []
    now = 10_000_000.0
    for passed, count in happened:
        now += passed
        trend = added(trend, now, count)
    times = [(10_000_000.0 + sum(each for each, _ in happened[: place + 1]), n) for place, (_, n) in enumerate(happened)]
    month = [(at, n) for at, n in times if at > now - STEPS[-1].keep]
    assert count_since(trend, now - STEPS[-1].keep) >= sum(n for _, n in month)
    lately = [n for at, n in times if at > now - 1800]
    assert sum(lately) <= count_since(trend, now - 1800) <= sum(n for at, n in times if at > now - 1860)
    shown = sum(points(trend, now + 60, 86400.0, 24))
    assert sum(lately) - 1e-6 <= shown <= count_since(trend, now - 86400 + 60) + 1e-6
    assert all(len(counts) <= step.keep // step.width + 2 for step, counts in zip(STEPS, trend, strict=False))


def group(name: str, *times: float) -> FailureGroup:
    made = FailureGroup(name, "OSError", f"no host {name}", f"mail.{name}", len(times), times[0], times[-1], "job")
    for at in times:
        made.trend = added(made.trend, at, 1)
    return made


NOW = 50 * 86400.0
GROUPS = [
    group("old", *[NOW - 30 * HOUR] * 9),
    group("both", *[NOW - 20 * HOUR] * 5, NOW - 100),
    group("new", NOW - 300, NOW - 200, NOW - 150),
]
V2 = Deploy("v2", NOW - HOUR, "ann")


@pytest.mark.parametrize(
    ("deploy", "new", "sort", "q", "found"),
    [
        (None, False, "last", "", ["both 6", "new 3", "old 9"]),
        (None, False, "count", "", ["old 9", "both 6", "new 3"]),
        (None, False, "first", "", ["new 3", "both 6", "old 9"]),
        (V2, False, "count", "", ["new 3", "both 1"]),
        (V2, True, "count", "", ["new 3"]),
        (None, False, "last", "task:mail.n*", ["new 3"]),
        (None, False, "last", "error:oserror both", ["both 6"]),
        (None, False, "last", "failure:old", ["old 9"]),
    ],
)
def test_what_fails_most(deploy: Deploy | None, new: bool, sort: str, q: str, found: list[str]) -> None:
    rows = failing(GROUPS, parse(q), deploy=deploy, new=new, sort=sort)
    assert [f"{each.group.fingerprint} {each.count}" for each in rows] == found
    assert [each.new for each in rows] == [deploy is not None and each.group.fingerprint == "new" for each in rows]


def test_groups_of_before_have_no_trend_and_are_counted_as_far_as_known() -> None:
    plain = data(FailureGroup("f", "E", "m", "t", 4, NOW - 100, NOW, "job"), V2)
    assert (plain["since_deploy"], plain["new"], plain["trend"]) == (4, True, [])
    assert data(GROUPS[0], None)["since_deploy"] is None


def test_a_deploy_is_chosen_by_its_version() -> None:
    known = [V2, Deploy("v1", NOW - 9 * HOUR, "ann")]
    assert [chosen(known, name) for name in ("", "newest", "v1")] == [None, *known]
    with pytest.raises(ConfigError, match="there is no deploy 'v3'; known are v2, v1"):
        chosen(known, "v3")
    with pytest.raises(ConfigError, match="no deploy is known: mark one with `longboat deploy mark VERSION`"):
        chosen([], "newest")
    with pytest.raises(ConfigError, match="sort: 'size' is not one of last, count, first"):
        failing([], parse(""), sort="size")


@pytest.mark.usefixtures("brisk")
def test_a_worker_tells_its_version_and_how_often_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_VERSION", "v1.2")
    with Longboat("memory://") as app:

        @app.task
        def fails() -> None:
            raise ValueError("x")

        with app.worker():
            fails.enqueue()
            until(lambda: history.failure_groups(app.broker.kv))
            until(lambda: history.workers(app.broker.kv))
            assert [record.app_version for record in history.workers(app.broker.kv)] == ["v1.2"]
        assert versions(app.broker.kv) == ["v1.2"]
        (failed,) = history.failure_groups(app.broker.kv)
        assert count_since(failed.trend, failed.first) == failed.count == 1
