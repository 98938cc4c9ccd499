"""RabbitMQ alone: running jobs are told as the workers tell them, and what nobody knows is never told as 0."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat import Longboat
from longboat.core import urls
from longboat.core.job import State
from longboat.dashboard import longboat_dashboard
from tests.rigs.broker import URLS
from tests.rigs.cli import Shell
from tests.rigs.dashboard import asking
from tests.rigs.harnesses import unavailable
from tests.rigs.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable("rabbitmq") is not None, reason=str(unavailable("rabbitmq")))]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    with URLS["rabbitmq"](tmp_path) as url, Longboat(url) as made:
        yield made


def test_with_jobs_that_run_and_one_that_is_delayed(app: Longboat, tmp_path: Path) -> None:
    over, shell = threading.Event(), Shell(tmp_path)

    @app.task(name="waits")
    def waits() -> None:
        over.wait(60)

    waits.using(delay="10m", queue="mail").enqueue()
    with app.worker(threads=2, queues=["mail"]):
        waits.using(queue="mail").enqueue_many([()] * 3)
        dashboard = longboat_dashboard(app, local_role="admin")
        try:
            with asking(dashboard) as page:
                until(lambda: page.get("/api/v1/scaling").json()["jobs"] == 3, 10)
                until(lambda: page.get("/api/v1/scaling").json()["running"] == 2, 10)
                scaling = page.get("/api/v1/scaling?queue=mail").json()
                assert scaling == {"ready": 1, "running": 2, "jobs": 3, "workers": 1, "slots": 2, "wanted": 2}
                depths = [
                    line
                    for line in page.get("/metrics").text.splitlines()
                    if line.startswith('longboat_queue_depth{queue="mail"')
                ]
                assert depths == [
                    f'longboat_queue_depth{{queue="mail",state="{state}"}} {n}'
                    for state, n in (("ready", 1), ("running", 2), ("dead", 0))
                ]
                [row] = [each for each in page.get("/api/v1/queues").json() if each["name"] == "mail"]
                assert [row[state] for state in ("ready", "running", "dead")] == [1, 2, 0]
                assert [row[state] for state in ("scheduled", "waiting", "succeeded", "cancelled")] == [None] * 4
                assert "<small>– scheduled, – waiting</small>" in page.get("/").text
                for path in ("/queues", "/queues/mail", "/jobs"):
                    assert "–" in page.get(path).text
        finally:
            dashboard.close()
            row = json.loads(shell.run("queues", "--json", "--url", urls.whole(app.url)).out)
            over.set()
    assert row["out"] is not None
    assert {name: row[name] for name in ("queue", *map(str, State))} == {
        "queue": "mail",
        "ready": 1,
        "scheduled": None,
        "waiting": None,
        "running": 2,
        "succeeded": None,
        "dead": 0,
        "cancelled": None,
    }


def test_ready_jobs_have_no_age_and_the_rest_is_told(app: Longboat) -> None:
    app.task(name="never")(print).enqueue()
    dashboard = longboat_dashboard(app, local_role="admin")
    with asking(dashboard) as page:
        lines = page.get("/metrics").text.splitlines()
    dashboard.close()
    assert "longboat_workers 0" in lines
    assert not [line for line in lines if line.startswith("longboat_queue_oldest_age_seconds")]


def test_a_queue_that_was_named_by_mistake_is_seen(app: Longboat, tmp_path: Path) -> None:
    shell, url = Shell(tmp_path), urls.whole(app.url)
    app.task(name="t")(print)
    with app.worker(threads=1):
        until(lambda: app.broker.kv.entries("worker"), 10)
        done = shell.run("enqueue", "t", "--queue", "nobody", "--url", url)
        assert "warning: no living worker serves queue 'nobody', only default\n" in done.err
        assert "no living worker" not in shell.run("enqueue", "t", "--url", url).err
        row = json.loads(shell.run("queues", "queue:nobody", "--json", "--url", url).out)
        assert row["ready"] == 1
        assert "nobody" in shell.run("doctor", "--url", url).out
        assert "1" in shell.run("purge", "--queue", "nobody", "--yes", "--url", url).out
        assert "no such" in shell.run("queues", "queue:nobody", "--url", url).out
