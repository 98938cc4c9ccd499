"""What autoscalers and Prometheus read from the dashboard, and that deploy/kubernetes/keda.yml asks for what there is."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from starlette.testclient import TestClient

from longboat import Job, Longboat
from longboat.contract.kv import Entry
from longboat.dashboard import longboat_dashboard
from longboat.observe.history import GRAINS, WORKERS, WorkerRecord, note_key
from longboat.observe.metrics import CONTENT_TYPE, FAMILIES, SHOWN
from longboat.observe.sketch import place
from longboat.observe.tally import Tally, encoded
from tests.rigs.dashboard import HERE, TOKEN, asking, until

KEDA = Path(__file__).parents[2] / "deploy" / "kubernetes" / "keda.yml"
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="[^"]*",?)*)\})? ([0-9.e+-]+)')


@pytest.fixture
def page(bare: Longboat) -> Iterator[TestClient]:
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        yield client
    dashboard.close()


def put(app: Longboat, count: int, queue: str) -> None:
    app.broker.put([Job(1, f"{queue}-{n}", "t", b"\x80", queue) for n in range(count)])


def worker(app: Longboat, name: str, slots: int, *queues: str) -> None:
    """A card as a worker writes it."""
    record = WorkerRecord(name, name, "host", 1, "1", 0.0, list(queues), [], {"async": slots, "thread": 1}, [], 0, 0)
    app.broker.kv.write(WORKERS, [Entry(name, msgspec.msgpack.encode(record), 60.0)])


def ran(app: Longboat, queue: str, seconds: float, count: int) -> None:
    """A note as a worker writes it: so many attempts of the last seconds."""
    tally = Tally(succeeded=count, run={place(seconds): count})
    start = time.time() // 10 * 10
    value = encoded({(queue, "t"): tally})
    app.broker.kv.write(GRAINS[0].namespace, [Entry(note_key(start, f"{queue}{seconds}"), value, 600.0)])


def scaling(page: TestClient, query: str = "") -> dict[str, Any]:
    answer = page.get(f"/api/v1/scaling{query}")
    assert answer.status_code == 200
    return dict(answer.json())


def test_queues_may_be_named_each_or_together(bare: Longboat, page: TestClient) -> None:
    for queue, count in (("one", 3), ("two", 5), ("three", 7)):
        put(bare, count, queue)
    assert scaling(page)["jobs"] == 15
    assert scaling(page, "?queue=one")["ready"] == 3
    assert scaling(page, "?queue=one&queue=two")["ready"] == scaling(page, "?queues=one,two")["ready"] == 8
    assert scaling(page, "?queue=none") == {"ready": 0, "running": 0, "jobs": 0, "workers": 0, "slots": 0, "wanted": 0}


def test_one_worker_is_wanted_until_one_tells_its_slots(bare: Longboat, page: TestClient) -> None:
    assert scaling(page)["wanted"] == 0
    put(bare, 1000, "one")
    until(lambda: scaling(page)["wanted"] == 1)
    worker(bare, "first", 10, "one")
    worker(bare, "second", 30, "one")
    until(lambda: scaling(page)["wanted"] == 50)
    assert (scaling(page)["workers"], scaling(page)["slots"]) == (2, 40)


def test_quick_jobs_want_fewer_workers_than_slow_ones(bare: Longboat, page: TestClient) -> None:
    for queue in ("quick", "slow"):
        put(bare, 1000, queue)
    worker(bare, "any", 10)
    ran(bare, "quick", 0.5, 200)
    ran(bare, "slow", 300.0, 20)
    until(lambda: scaling(page, "?queue=quick")["wanted"] < 5)
    assert scaling(page, "?queue=quick")["wanted"] == 1
    assert scaling(page, "?queue=slow")["wanted"] == 100


def test_what_runs_keeps_its_workers(bare: Longboat, page: TestClient) -> None:
    over = threading.Event()

    @bare.task(name="waits", queue="mine")
    def waits() -> None:
        over.wait(20)

    with bare.worker(threads=3):
        waits.enqueue_many([()] * 4)
        try:
            until(lambda: scaling(page, "?queue=mine")["running"] >= 3)
            until(lambda: scaling(page, "?queue=mine")["workers"] == 1)
            told = scaling(page, "?queue=mine")
            assert (told["ready"] + told["running"], told["jobs"]) == (4, 4)
            assert told["wanted"] >= 1
        finally:
            over.set()


def told(page: TestClient, **headers: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Read as Prometheus does."""
    answer = page.get("/metrics", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, CONTENT_TYPE)
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            matched = SAMPLE.fullmatch(line)
            assert matched, line
            labels = dict(re.findall(r'([a-z]+)="([^"]*)"', matched[2] or ""))
            found.setdefault(matched[1], []).append((labels, float(matched[3])))
    return found


def test_prometheus_reads_what_the_broker_and_the_history_know(bare: Longboat, page: TestClient) -> None:
    put(bare, 2, "one")
    worker(bare, "first", 10, "one")
    ran(bare, "one", 0.3, 7)
    found = told(page)
    assert found.keys() <= FAMILIES.keys()
    depth = {(labels["queue"], labels["state"]): value for labels, value in found["longboat_queue_depth"]}
    assert depth == {("one", state.value): 2.0 if state.value == "ready" else 0.0 for state in SHOWN}
    assert found["longboat_queue_oldest_age_seconds"][0][1] >= 0
    assert found["longboat_workers"] == [({}, 1)]
    jobs = {labels["outcome"]: value for labels, value in found["longboat_recent_jobs"] if labels["task"] == "t"}
    assert jobs == {"succeeded": 7, "retried": 0, "dead": 0, "cancelled": 0}
    runs = {labels["quantile"]: value for labels, value in found["longboat_recent_run_seconds"]}
    assert runs == pytest.approx(dict.fromkeys(("0.5", "0.95", "0.99"), 0.3), rel=0.02)
    assert "longboat_recent_wait_seconds" not in found


def test_both_need_what_the_pages_need(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, tokens={TOKEN: "viewer"})
    with asking(dashboard, base="http://dashboard.example", peer="10.0.0.7") as client:
        for path in ("/metrics", "/api/v1/scaling"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert told(client, authorization=f"Bearer {TOKEN}")["longboat_workers"] == [({}, 0)]
    dashboard.close()
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard, base=HERE, peer="10.0.0.7") as client:
        assert client.get("/metrics").status_code == 403
    dashboard.close()


def triggers() -> list[tuple[str, str]]:
    """(url, valueLocation) of every trigger of the example, also of the one in comments."""
    text = KEDA.read_text()
    urls, places = (re.findall(rf"^[ #]*{name}: (\S+)", text, re.M) for name in ("url", "valueLocation"))
    found = list(zip(urls, places, strict=True))
    assert len(found) == text.count("type: metrics-api") == text.count("authMode: bearer") == 2
    return found


@pytest.mark.parametrize(("url", "location"), triggers())
def test_the_example_for_keda_asks_for_what_there_is(bare: Longboat, url: str, location: str) -> None:
    put(bare, 6, "mail")
    put(bare, 6, "others")
    dashboard = longboat_dashboard(bare, tokens={TOKEN: "viewer"})
    place = urlsplit(url)
    with asking(dashboard, base=f"{place.scheme}://{place.netloc}", peer="10.0.0.7") as client:
        answer = client.get(f"{place.path}?{place.query}", headers={"authorization": f"Bearer {TOKEN}"})
    dashboard.close()
    assert answer.status_code == 200
    value = answer.json()[location]
    assert isinstance(value, int)
    assert value == {"wanted": 1, "jobs": 6}[location]
