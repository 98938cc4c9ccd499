"""What runs in the next hour: scheduled jobs and ticks of schedules, in one list."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from longboat import Longboat
from longboat.cli import calendar as cli
from longboat.contract.broker import Broker
from longboat.core.job import Failure, Retry
from longboat.dashboard import longboat_dashboard
from longboat.errors import Unsupported
from longboat.operate import calendar as looking
from longboat.operate import scheduler
from longboat.operate.calendar import calendar
from longboat.tasks.schedule import Schedule
from longboat.testing.conformance.stage import job, settle, take
from tests.operate.test_attention import works
from tests.rigs.dashboard import asking


def stock(broker: Broker) -> None:
    """Three jobs, of which one is a retry and one is too late, and four schedules."""
    works(broker)
    broker.put([job(id="retried")])
    consumer = broker.consumer(["q"], lease=60)
    settle(consumer, take(consumer), Retry(1200.0, Failure("ValueError", "no")))
    consumer.close()
    broker.put([job(id="soon", delay=5.0), job(id="later", delay=4000.0)])
    for name, rule in (("often", "every 1s"), ("thrice", "every 20m"), ("rarely", "0 0 1 1 *"), ("still", "every 30m")):
        scheduler.add(broker, Schedule(name=name, rule=rule, task="t", payload=b"\xc0", queue="q"))
    scheduler.pause(broker.kv, "still", True, time.time())


def test_jobs_and_ticks_by_time(tmp_path: Path) -> None:
    app = Longboat(url := f"sqlite:///{tmp_path}/jobs.db?synchronous=normal")
    stock(app.broker)
    found = calendar(app.broker)
    assert not found.unknown
    assert [each.at for each in found.entries] == sorted(each.at for each in found.entries)
    told = [(each.schedule or each.job, each.attempt, each.times) for each in found.entries]
    rarely = [each for each in told if each[0] == "rarely"]  # in the first hour of a year
    assert sorted(each for each in told if each not in rarely) == [
        ("often", 1, 3600),
        ("retried", 2, 1),
        ("soon", 1, 1),
        *[("thrice", 1, 1)] * 3,
    ]
    lines = CliRunner().invoke(cli.command, ["--url", url]).output.splitlines()
    assert lines[0].split() == ["at", "when", "task", "queue", "what"]
    assert any(line.endswith("schedule often, every 1s, 3,600 times") for line in lines)
    assert any(line.endswith("job retried, attempt 2") for line in lines)
    entries = json.loads(CliRunner().invoke(cli.command, ["--json", "--url", url]).output)["entries"]
    dashboard = longboat_dashboard(app, local_role="viewer")
    with asking(dashboard) as page:
        assert len(page.get("/api/v1/calendar").json()["entries"]) == len(entries) == len(told)
        assert "schedule often, every 1s, 3,600 times" in page.get("/calendar").text
    dashboard.close()
    app.close()


def test_what_is_not_in_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with Longboat("memory://") as app:
        broker = app.broker
        assert calendar(broker) == looking.Calendar()
        broker.put([job(delay=60.0) for _ in range(3)])
        monkeypatch.setattr(looking, "JOBS", 2)
        found = calendar(broker)
        assert found.unknown == ["only the next 2 scheduled jobs are listed: there are more within the hour"]
        assert len(found.entries) == 2
        scheduler.add(broker, Schedule(name="s", rule="every 30m", task="gone", payload=b"\xc0"))
        assert "schedule s: no living worker knows task gone" in calendar(broker).unknown

        def refuse(*_: object, **__: object) -> None:
            raise Unsupported("it lists no jobs")

        monkeypatch.setattr(broker.inspector, "jobs", refuse)
        found = calendar(broker)
        assert found.unknown[0] == "which jobs are scheduled is not known: it lists no jobs"
        assert [each.schedule for each in found.entries] == ["s", "s"]
