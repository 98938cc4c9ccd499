"""A known load, and every number that is told of it: pages, API, `top` and metrics beside the truth."""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from starlette.testclient import TestClient

from longboat import Limit, Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.cli.top import command
from longboat.contract.broker import Broker, Lease, Settlement
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Dead, Done, Failure, Outcome, Retry
from longboat.dashboard import longboat_dashboard
from longboat.executors.contract import Call
from longboat.observe import depth
from longboat.observe.metrics import EDGES, Sight, of_worker
from longboat.observe.pace import paces
from longboat.testing.conformance.stage import job
from longboat.worker import recorder as recording
from longboat.worker.recorder import Recorder
from tests.rigs.dashboard import asking
from tests.rigs.waiting import until

NOW = 1_900_002_605.0
"""5 s into a bucket of time."""
NEAR = pytest.approx
FAILURE = Failure("ValueError", "no", "", 1, NOW - 3, "w")
LIMITS, PARENTS = Constraints(limits=[JobLimit("k", 1)]), Constraints(after=["p"])
RUNS = {"mail.send": [0.08] * 50 + [0.4] * 45 + [2.5] * 5, "img.resize": [5.0] * 40}
WAITS = {"mail.send": [0.01] * 90 + [3.0] * 10, "img.resize": [0.25] * 40}
HELD: dict[str, tuple[Constraints, list[float]]] = {
    "api.call": (LIMITS, [30.0] * 9 + [600.0]),
    "flow.end": (PARENTS, [90.0] * 10),
}
QUEUES = {"mail.send": "mail", "img.resize": "default", "api.call": "default", "flow.end": "default"}
PARTS = (0.5, 0.95, 0.99)
TASK = Longboat("memory://").task(name="any")(print)


def true(durations: list[float], part: float) -> float:
    return sorted(durations)[max(0, math.ceil(len(durations) * part - 1e-9) - 1)]


def quantiles(durations: list[float]) -> list[Any]:
    return [NEAR(true(durations, part), rel=0.02) for part in PARTS]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db?synchronous=normal" if request.param == "sqlite" else "memory://"


@pytest.fixture
def _stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is NOW all the time."""
    monkeypatch.setattr(SYSTEM, "now", lambda: NOW, raising=False)
    monkeypatch.setattr(recording, "monotonic", lambda: 1000.0)


def ended(recorder: Recorder, task: str, ran: float, waited: float, constraints: Constraints | None = None) -> Settlement:
    """One attempt has ended now: it ran and waited so long, after a delay of an hour."""
    made = replace(
        job(task=task, queue=QUEUES[task]), delay=3600.0, enqueued=NOW - ran - waited - 3600.0, constraints=constraints
    )
    call = Call(Lease(made, 1, 1), TASK)
    call.started = 1000.0 - ran
    recorder.seen += 1
    recorder.sample(call)
    return Settlement(call.lease, Done(b"\xc0"))


def play(broker: Broker) -> list[Recorder]:
    """Two workers, each with half of the load: most of it five minutes ago, then 40 and 20 attempts in two buckets."""
    workers = [Recorder(broker.kv, "one"), Recorder(broker.kv, "other")]
    for place, recorder in enumerate(workers):
        for task, runs in RUNS.items():
            pairs = list(zip(runs, WAITS[task], strict=True))[place::2]
            recorder.settled([ended(recorder, task, ran, waited) for ran, waited in pairs])
        for task, (constraints, waits) in HELD.items():
            recorder.settled([ended(recorder, task, 1.0, waited, constraints) for waited in waits[place::2]])
        recorder.run(NOW - 300)
        for at, count in ((NOW - 10, 20), (NOW, 10)):
            done = [Settlement(Lease(job(task="mail.send", queue="mail"), 1, 1), Done(b"\xc0"))] * (count - 2)
            failed: list[Outcome] = [Retry(1.0, FAILURE), Dead(FAILURE)]
            recorder.settled(
                [*done, *(Settlement(Lease(job(task="mail.send", queue="mail"), 1, 1), each) for each in failed)]
            )
            recorder.run(at)
    broker.put([job(queue="mail"), job(queue="mail"), job(queue="default"), replace(job(queue="default"), delay=60.0)])
    depth.sample(broker, NOW)
    return workers


SUCCEEDED = {"mail.send": 100 + 2 * (18 + 8), "img.resize": 40, "api.call": 10, "flow.end": 10}
ENDED = {**SUCCEEDED, "mail.send": SUCCEEDED["mail.send"] + 2 * 4}
RATE = (20 + 40 * 0.5) / 10
"""It is 5 s into the bucket: five of the last ten seconds are the one before's."""


def test_a_steady_rate_is_told_as_it_is() -> None:
    """Whenever one asks: workers write every other second what they have done since."""
    kv, begun, told = MemoryBroker().kv, time.time() // 10 * 10, list[float]()
    recorder = Recorder(kv, "w")
    for second in range(60):
        recorder.settled([Settlement(Lease(job(task="t", queue="q"), 1, 1), Done(b"\xc0"))] * 10)
        for write in (False, True):
            if write and second % 2:
                recorder.run(begun + second)
            if second > 30:
                told.append(paces(kv, begun + second)["q", "t"].ended)
    assert statistics.mean(told) == pytest.approx(10.0, rel=0.03)


def tiles(page: TestClient, path: str) -> dict[str, list[str]]:
    """By label: the number, and the words below it."""
    text = page.get(path).text
    found = re.findall(r'class="tile[^>]*><span>(.*?)</span><b>(.*?)</b><small>(.*?)</small>', text)
    return {
        label: [number, *re.findall(r"[\d.,]+k?(?: (?:µs|ms|s|m|h|d)\b)?", re.sub("p9[59]", "", small))]
        for label, number, small in found
    }


UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def near(durations: list[float]) -> list[Any]:
    """The quantiles as a page shows them, rounded."""

    class Shown:
        def __init__(self, wanted: float) -> None:
            self.wanted = wanted

        def __eq__(self, text: object) -> bool:
            number, unit = str(text).split()
            step = 10.0 ** -len(number.partition(".")[2]) * UNITS[unit]
            return abs(float(number) * UNITS[unit] - self.wanted) <= 0.02 * self.wanted + step / 2

        def __repr__(self) -> str:
            return f"about {self.wanted:g} s"

    return [Shown(true(durations, part)) for part in PARTS]


@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
@pytest.mark.usefixtures("_stopped")
def test_every_number_is_true(url: str) -> None:
    app = Longboat(url)
    workers = play(app.broker)
    (running,) = app.broker.put([job(queue="lone")])
    consumer = app.broker.consumer(["lone"], lease=60)
    consumer.receive(1, wait=0)
    dashboard = longboat_dashboard(app, local_role="viewer")
    with asking(dashboard) as page:
        pages(page)
        first_attempt(page, running)
        api(page)
        recent(page.get("/metrics").text)
    of_workers(workers)
    if url.startswith("sqlite"):
        found = CliRunner().invoke(command, ["--once", "--json", "--url", url])
        assert found.exit_code == 0, found.output
        top(json.loads(found.output), app.broker, url)
    consumer.close()
    dashboard.close()
    app.close()


def pages(page: TestClient) -> None:
    every_run = [each for runs in RUNS.values() for each in runs] + [1.0] * 20
    every_wait = [each for waits in WAITS.values() for each in waits]
    for path in ("/", "/?range=2h"):
        shown = tiles(page, path)
        assert (shown["Ready"][0], shown["Running"][0]) == ("3", "1")
        assert shown["Ended per second"][:2] == [f"{RATE:g}", str(sum(ENDED.values()))]
        died = next(value for label, value in shown.items() if label.startswith("Died in"))
        assert died == ["4", "4"]
        assert shown["Median run time"] == near(every_run)
        assert shown["Median wait"] == near(every_wait)
        assert shown["Median wait with limits"] == near(HELD["api.call"][1])
        assert shown["Median wait with parents"] == near(HELD["flow.end"][1])
    shown = tiles(page, "/queues/mail?range=24h")
    assert shown["Ended per second"][0] == f"{RATE:g}"
    assert (shown["Median run time"], shown["Median wait"]) == (near(RUNS["mail.send"]), near(WAITS["mail.send"]))
    assert "Median wait with limits" not in shown
    for name, runs in RUNS.items():
        shown = tiles(page, f"/tasks/{name}")
        assert shown["Succeeded"][0] == str(SUCCEEDED[name])
        assert (shown["Median run time"], shown["Median wait"]) == (near(runs), near(WAITS[name]))
        row = re.findall(r'<td class="num[^>]*>(.*?)</td>', page.get("/tasks").text.split(f"<b>{name}</b>")[1])[:7]
        assert row[:3] == [str(SUCCEEDED[name]), *(["4", "4"] if name == "mail.send" else ["0", "0"])]
        assert row[4:] == near(runs)
    row = re.findall(r'<td class="num[^"]*">(.*?)</td>', page.get("/queues").text.split("<b>mail</b>")[1].split("</tr>")[0])
    assert row[-3:] == [near(WAITS["mail.send"])[1], "–", f"{RATE:.1f}/s"], "nobody has counted jobs ten seconds ago"
    assert "No jobs started." not in page.get("/tasks/api.call").text, "its limits held it, and it waited"
    links = re.findall(r'<a href="/tasks\?(.*?)"', page.get("/tasks?q=mail&range=2h").text)
    assert "q=mail&amp;range=24h" in links, links
    for label in ("15m", "2h", "24h", "7d"):
        assert f"{sum(ENDED.values())} in " in page.get(f"/?range={label}").text


def first_attempt(page: TestClient, job_id: str) -> None:
    """A job in its first attempt has one, wherever that is shown."""
    assert "<dt>Attempts</dt><dd>1</dd>" in page.get(f"/jobs/{job_id}").text
    assert '<td class="num">1</td>' in page.get("/jobs?q=state:running").text
    assert page.get(f"/api/v1/jobs/{job_id}").json()["attempts"] == 1
    (row,) = csv.DictReader(page.get("/jobs.csv?q=state:running").text.splitlines())
    assert row["attempts"] == "1"


def api(page: TestClient) -> None:
    found = page.get("/api/v1/history").json()
    at = {moment: place for place, moment in enumerate(found["t"])}
    then = at[int(NOW - 300) // 10 * 10]
    assert found["succeeded"][then] == sum(SUCCEEDED.values()) / 10 - 5.2
    assert [line[then] for line in found["run"]] == quantiles([each for runs in RUNS.values() for each in runs] + [1.0] * 20)
    assert [line[then] for line in found["limited"]] == quantiles(HELD["api.call"][1])
    assert [line[then] for line in found["parents"]] == quantiles(HELD["flow.end"][1])
    assert found["t"][-1] == NOW - 15, "the bucket that is not over is not shown"
    assert [found[what][-1] for what in ("succeeded", "retried", "dead")] == [3.6, 0.2, 0.2]
    assert [found["depth"][state][-1] for state in ("ready", "scheduled", "running")] == [3, 1, 0]
    found = page.get("/api/v1/history?range=7d").json()
    passed = NOW % 3600
    assert found["succeeded"][-1] == NEAR(sum(SUCCEEDED.values()) / passed, abs=1e-4), "of the part that has passed"
    assert sum(found["dead"]) * passed == NEAR(4, rel=0.05)
    rows = {row["name"]: row for row in page.get("/api/v1/queues?range=2h").json()}
    assert (rows["mail"]["ready"], rows["mail"]["rate"]) == (2, NEAR(RATE))
    assert rows["mail"]["wait_p95"] == quantiles(WAITS["mail.send"])[1]
    assert page.get("/api/v1/queues?range=1y").status_code == 400


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and values of labels."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {(name.partition("{")[0], *re.findall(r'="(.*?)"', name)): float(value) for name, _, value in lines}


def recent(text: str) -> None:
    found = samples(text)
    for task, runs in RUNS.items():
        queue = QUEUES[task]
        assert found["longboat_recent_jobs", queue, task, "succeeded"] == SUCCEEDED[task]
        for what, durations in (("run", runs), ("wait", WAITS[task])):
            told = [found[f"longboat_recent_{what}_seconds", queue, task, f"{part:g}"] for part in PARTS]
            assert told == quantiles(durations)
    assert found["longboat_queue_depth", "mail", "ready"] == 2


def of_workers(workers: list[Recorder]) -> None:
    both = [samples(of_worker(Sight(each.totals(), {}, 1, 0, True)).text()) for each in workers]
    for task, runs in RUNS.items():
        names = QUEUES[task], task
        for what, durations in (("run", runs), ("wait", WAITS[task])):
            for edge in EDGES:
                told = sum(each[f"longboat_job_{what}_seconds_bucket", *names, f"{edge:g}"] for each in both)
                least, most = (sum(length <= edge * by for length in durations) for by in (0.98, 1.02))
                assert least <= told <= most, (task, what, edge)
            total = sum(each[f"longboat_job_{what}_seconds_sum", *names] for each in both)
            assert total == NEAR(sum(durations), rel=0.02)
        assert sum(each["longboat_jobs_finished_total", *names, "succeeded"] for each in both) == SUCCEEDED[task]


def top(told: dict[str, Any], broker: Broker, url: str) -> None:
    assert {row["queue"]: (row["ready"], row["scheduled"]) for row in told["queues"]} == {
        "mail": (2, 0),
        "default": (1, 1),
        "lone": (0, 0),
    }
    (row,) = told["tasks"]
    assert (row["task"], row["done_per_second"]) == ("mail.send", NEAR((16 + 36 * 0.5) / 10))
    assert row["failed_per_second"] == NEAR((4 + 4 * 0.5) / 10)
    assert row["run_p50"] is None, "nothing was measured in the last minute"
    recorder = Recorder(broker.kv, "third")
    recorder.settled([ended(recorder, "mail.send", ran, 0.2) for ran in RUNS["mail.send"]])
    recorder.run(NOW)
    found = CliRunner().invoke(command, ["--once", "--json", "--url", url])
    (row,) = json.loads(found.output)["tasks"]
    assert [row[f"run_p{name}"] for name in ("50", "95", "99")] == quantiles(RUNS["mail.send"])


@pytest.mark.slow
@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
def test_a_real_run_is_told_truly(url: str) -> None:
    """Sleeps, a delay, a limit and a flow by a real worker: what the tasks themselves have measured is what is told."""
    app, ran, began = Longboat(url), dict[str, list[float]](), dict[str, list[float]]()
    lock = threading.Lock()

    def work(name: str, seconds: float) -> int:
        begun = time.time()
        time.sleep(seconds)
        with lock:
            began.setdefault(name, []).append(begun)
            ran.setdefault(name, []).append(time.time() - begun)
        return 1

    @app.task(name="plain")
    def plain(seconds: float) -> int:
        return work("plain", seconds)

    @app.task(name="limited", limit=Limit(key="all", running=1))
    def limited(seconds: float) -> int:
        return work("limited", seconds)

    @app.task(name="after")
    def after(part: int) -> int:
        return work("after", part / 10)

    with app.worker(threads=20):
        at = time.time()
        handles = [plain.using(delay=0.5).enqueue(0.3) for _ in range(10)] + [limited.enqueue(0.2) for _ in range(5)]
        flow = plain.s(0.7).then(after).enqueue()
        for handle in handles:
            handle.result(30)
        flow.result(30)
    dashboard = longboat_dashboard(app, local_role="viewer")
    with asking(dashboard) as page:
        until(lambda: "longboat_recent_run_seconds" in page.get("/metrics").text)
        found = samples(page.get("/metrics").text)
        series = page.get("/api/v1/history?range=24h").json()
    for name, durations in ran.items():
        assert found["longboat_recent_jobs", "default", name, "succeeded"] == len(durations)
        told = [found["longboat_recent_run_seconds", "default", name, f"{part:g}"] for part in PARTS]
        assert told == [NEAR(true(durations, part), rel=0.02, abs=0.02) for part in PARTS]
    assert found["longboat_recent_wait_seconds", "default", "plain", "0.99"] < 0.5, "the delay is not a wait"
    held = [line[-1] for line in series["limited"]]
    assert held == [NEAR(true([begun - at for begun in began["limited"]], part), rel=0.05, abs=0.05) for part in PARTS]
    assert series["parents"][0][-1] == NEAR(began["after"][0] - at, rel=0.05, abs=0.05)
    dashboard.close()
    app.close()
