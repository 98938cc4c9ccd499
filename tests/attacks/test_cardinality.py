"""A hundred thousand names of queues and tasks: pages and metrics stay small, and say what they leave out."""

from __future__ import annotations

import time

import pytest

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.core.job import Job
from longboat.dashboard import longboat_dashboard
from longboat.errors import ConfigError
from longboat.observe.metrics import LABELS_VARIABLE, OTHER, SERIES, Page, Sight, add_queues, add_recent, of_worker
from longboat.observe.tally import Tally
from tests.observe.test_metrics import samples
from tests.rigs.dashboard import asking

MANY = 100_000
PAGE = 300_000
"""Bytes of a page, at most."""
SCRAPE = 1_500_000


def named(n: int) -> str:
    return f"tenant-{n:06}-" + "x" * 40


@pytest.fixture(scope="module")
def crowded() -> MemoryBroker:
    broker = MemoryBroker()
    jobs = [Job(1, f"{n:016x}-{n:016x}", f"task.{named(n)}", b"\x80", named(n)) for n in range(MANY)]
    broker.put([*jobs, Job(1, "last", "task", b"\x80", named(MANY - 1))])
    return broker


@pytest.mark.slow
def test_pages_grow_with_the_number_of_names(crowded: MemoryBroker) -> None:
    app = Longboat("memory://")
    app.client.broker = crowded
    dashboard = longboat_dashboard(app, local_role="admin")
    with asking(dashboard) as client:
        names = (f"/tasks/task.{named(1)}", f"/queues/{named(1)}")
        for path in ("/", "/queues", "/tasks", "/jobs", "/system", *names, "/api/v1/queues"):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert len(answer.content) < PAGE, path
        first = client.get("/queues").text
        assert named(MANY - 1) in first, "the fullest"
        assert "100,000 in all" in first
        assert 'href="/queues?page=2&amp;range=15m"' in first
        assert named(500) not in first
        for search in ("000005", "tenant-?00005-*"):
            assert named(5) in client.get("/queues", params={"q": search}).text
        assert "No queues match" in client.get("/queues", params={"q": "nobody["}).text
        assert client.get("/queues", params={"page": "x"}).status_code == 400
        second = client.get("/api/v1/queues", params={"limit": 2, "page": 2, "q": "tenant-00000?-*"}).json()
        assert [each["name"] for each in second] == [named(2), named(3)]
    dashboard.close()


@pytest.mark.slow
def test_a_scrape_grows_with_the_number_of_names(crowded: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {(named(n), named(n)): Tally(succeeded=1 + (n == MANY - 1)) for n in range(1000)}
    pairs[named(MANY), "busy"] = Tally(succeeded=5)

    def scrape() -> str:
        page = of_worker(Sight(pairs, dict.fromkeys(pairs, 1), 1, 0, True))
        add_queues(page, crowded, time.time())
        add_recent(page, pairs)
        return page.text()

    text = scrape()
    assert len(text) < SCRAPE
    found = samples(text)
    assert found["longboat_series_left_out"] == [({}, MANY - SERIES)]
    depth = {labels["queue"]: value for labels, value in found["longboat_queue_depth"] if labels["state"] == "ready"}
    assert len(depth) == SERIES + 1
    assert depth[named(MANY - 1)] == 2
    assert depth[OTHER] == MANY + 1 - SERIES - 1
    for family, total in (("longboat_jobs_finished_total", 1005.0), ("longboat_recent_jobs", 1005.0)):
        done = {labels["task"]: value for labels, value in found[family] if labels["outcome"] == "succeeded"}
        assert len(done) == SERIES + 1
        assert sum(done.values()) == total
    recent = {labels["task"] for labels, _ in found["longboat_recent_jobs"]}
    assert "busy" in recent
    for chosen, kept in (("none", set()), ("queue", {"queue"}), ("task", {"task"}), ("queue,task", {"queue", "task"})):
        monkeypatch.setenv(LABELS_VARIABLE, chosen)
        found = samples(scrape())
        assert {name for labels, _ in found["longboat_recent_jobs"] for name in labels} == {*kept, "outcome"}
        assert {name for labels, _ in found["longboat_queue_depth"] for name in labels} == {*(kept & {"queue"}), "state"}
        assert sum(value for labels, value in found["longboat_queue_depth"] if labels["state"] == "ready") == MANY + 1
    monkeypatch.setenv(LABELS_VARIABLE, "tenant")
    with pytest.raises(ConfigError, match="'tenant'"):
        longboat_dashboard("memory://", local_role="admin")


def test_a_counter_keeps_its_series_when_others_come() -> None:
    totals = {("q", f"t{n}"): Tally(succeeded=1) for n in range(SERIES)}
    first = Page()
    add_recent(first, dict(totals))
    totals["q", "a-late-one"] = Tally(succeeded=10**6)
    found = samples(of_worker(Sight(totals, {}, 1, 0, True)).text())["longboat_jobs_finished_total"]
    names = {labels["task"] for labels, _ in found}
    assert {f"t{n}" for n in range(SERIES)} < names
    assert "a-late-one" not in names
