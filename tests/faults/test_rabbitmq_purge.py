"""RabbitMQ alone: ready jobs are purged, as many as were counted, and a priority without a level of its own is told."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from longboat import JobCancelled, Longboat
from longboat.connect import connect
from longboat.core.job import State
from longboat.errors import BrokerMisconfigured, Unsupported
from longboat.testing.conformance.stage import job, take_all
from tests.rigs.servers.rabbitmq import RabbitmqServer, available
from tests.rigs.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


def longboat(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "longboat", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ready_jobs_are_purged_and_others_stay(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> None:
    with Longboat(f"{rabbitmq_server.url}?prefix={tmp_path.name}") as app:

        @app.task(name="job", queue="q")
        def job() -> None:
            raise NotImplementedError

        @app.task(name="after")
        def after(_: None) -> None: ...

        chained = job.s().then(after).enqueue()
        first = job.enqueue_many(() for _ in range(299))[0]
        for priority in (2, -1):
            job.using(priority=priority).enqueue()
        job.using(queue="other").enqueue()
        job.using(delay="60s").enqueue()
        inspector = app.broker.inspector
        assert inspector.purge([State.READY], queue="q", limit=5) == 5
        assert inspector.counts() == {("q", State.READY): 297, ("other", State.READY): 1}
        with pytest.raises(Unsupported, match="purge jobs that are scheduled, only those that are ready or dead"):
            inspector.purge([State.READY, State.SCHEDULED])
        assert inspector.purge([State.READY], queue="q") == 297
        for waiting in (first, chained):
            with pytest.raises(JobCancelled, match="was deleted before it started"):
                waiting.result("10s")
        assert chained.status().jobs == {State.CANCELLED: 1, State.WAITING: 1}
        with closing(app.broker.consumer(["other"], lease=10.0, tasks=["job"])) as consumer:
            assert len(consumer.receive(1, wait=5.0)) == 1
            assert inspector.purge([State.READY, State.DEAD]) == 0, "what a worker holds stays"
        until(lambda: inspector.counts() == {("other", State.READY): 1}, 10)  # and comes back


def test_the_command_purges_what_it_counted(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> None:
    with Longboat(url := f"{rabbitmq_server.url}?prefix={tmp_path.name}") as app:

        @app.task(name="job")
        def job() -> None:
            raise NotImplementedError

        job.enqueue_many(() for _ in range(7))
        said = json.loads(longboat(tmp_path, "purge", "--yes", "--json", "--url", url))
        assert said["by"] == [{"state": "ready", "jobs": 7}]
        assert said["done"] == 7
        assert app.broker.inspector.counts() == {}


def test_a_priority_without_a_level_is_told(
    rabbitmq_server: RabbitmqServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tasks.py").write_text(
        "from longboat import Longboat\napp = Longboat()\n"
        "@app.task(priority=10)\ndef urgent() -> None: ...\n@app.task(priority=-2)\ndef idle() -> None: ...\n"
    )
    said = json.loads(longboat(tmp_path, "doctor", "--json", "--url", rabbitmq_server.url))
    (warned,) = [each["what"] for each in said["problems"] if "levels of priority" in each["what"]]
    assert "from -2 to 2" in warned
    assert warned.endswith("beyond: tasks.urgent (10)")
    with (
        Longboat(f"{rabbitmq_server.url}?prefix={tmp_path.name}") as app,
        caplog.at_level(logging.WARNING, "longboat.rabbitmq"),
    ):

        @app.task(name="job")
        def job() -> None:
            raise NotImplementedError

        for priority in (2, 3, -9):
            job.using(priority=priority).enqueue()
    (told,) = [record.getMessage() for record in caplog.records if record.name == "longboat.rabbitmq"]
    assert "priority 3" in told
    assert "counts as 2" in told


def test_the_url_chooses_levels_and_all_programs_the_same(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> None:
    url = f"{rabbitmq_server.url}?prefix={tmp_path.name}"
    with closing(connect(f"{url}&levels=12")) as broker:
        broker.put([job(priority=priority) for priority in (0, 9, 8, 100, -5)])
        with closing(broker.consumer(["q"], lease=10.0)) as consumer:
            assert [lease.job.priority for lease in take_all(consumer, 5)] == [9, 100, 8, 0, -5]
    with closing(connect(url)) as broker:
        for use in (lambda: broker.put([job()]), lambda: broker.consumer(["q"], lease=10.0)):
            with pytest.raises(BrokerMisconfigured, match=r"says levels=5, .* `rabbitmqctl delete_queue .*\.levels`"):
                use()
        rabbitmq_server.ctl("delete_queue", f"{tmp_path.name}.levels")
        broker.put([job()])
