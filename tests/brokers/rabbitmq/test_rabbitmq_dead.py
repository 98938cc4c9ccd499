"""RabbitMQ alone: a single dead job is found among the dead ones, by commands as by the dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat import JobFailed, Longboat
from longboat.core import urls
from longboat.core.job import State
from tests.rigs.broker import URLS
from tests.rigs.cli import project
from tests.rigs.harnesses import unavailable

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable("rabbitmq") is not None, reason=str(unavailable("rabbitmq")))]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    with URLS["rabbitmq"](tmp_path) as url, Longboat(url) as made:

        @made.task(name="tasks.boom", retries=0)
        def boom(text: str) -> None:
            raise ValueError(text)

        yield made


def test_a_single_dead_job_is_shown_replayed_and_retried(app: Longboat, tmp_path: Path) -> None:
    boom = app.registry.tasks["tasks.boom"]
    one, other, slow = (
        boom.using(id=name, queue="slow" if name == "slow" else "default").enqueue(name) for name in ("one", "other", "slow")
    )
    shell, here = project(tmp_path), ("--url", urls.whole(app.url))
    with app.worker(queues=["default", "slow"]):
        for each in (one, other, slow):
            with pytest.raises(JobFailed):
                each.result(20)
    assert "ValueError: one" in shell.run("dead", "show", "one", *here).out
    assert "slow" in shell.run("dead", "list", *here).out, "in a queue that only workers have used"
    assert "retried 1 dead job" in shell.run("dead", "retry", "slow", "--yes", *here).out
    assert json.loads(shell.run("jobs", "show", "one", "--json", *here).out)["state"] == "dead"
    assert "ValueError: one" in shell.run("replay", "one", "tasks:app", *here, status=1).err
    found = shell.run("dead", "list", "id:one", "--json", *here).out.splitlines()
    assert [json.loads(each)["id"] for each in found] == ["one"]
    assert "ValueError: one" in shell.run("result", "one", *here, status=1).err
    first, more = shell.run("jobs", "--state", "dead", "--limit", "1", "--json", *here).out.splitlines()
    rest = shell.run("jobs", "--state", "dead", "--after", json.loads(more)["after"], "--json", *here).out.splitlines()
    assert sorted(json.loads(each)["id"] for each in (first, *rest)) == ["one", "other"]
    said = shell.run("dead", "show", "never-was", *here, status=1).err
    assert "never-was is neither running nor among the dead jobs" in said
    said = shell.run("dead", "purge", "one", "--yes", *here, status=2).err
    assert "cannot delete single jobs" in said
    assert "--queue" in said
    assert "`longboat jobs --state dead`" in shell.fails("jobs", "--state", "ready", *here, status=2).err
    assert "lists no jobs that are ready, waiting, scheduled, cancelled, succeeded" in shell.run("jobs", *here).err
    waited = shell.fails("enqueue", "tasks.boom", '"x"', "--id", "more", "--wait", "--timeout", "10ms", *here, status=6).err
    assert "tells its result to this command alone" in waited
    assert "retried 1 dead job" in shell.run("dead", "retry", "one", "--yes", *here).out
    assert "no such dead job" in shell.run("dead", "retry", "one", "--yes", *here, status=1).err
    assert "retried 1 dead job" in shell.run("dead", "retry", "id:other", "--yes", *here).out
    assert not app.broker.inspector.jobs(State.DEAD).jobs


def test_a_handle_retries_its_dead_job_and_waits_for_its_new_end(app: Longboat) -> None:
    broken = [True]

    @app.task(name="tasks.mended", retries=0)
    def mended() -> str:
        if broken:
            raise ValueError(broken.pop())
        return "fine"

    job = mended.enqueue()
    with app.worker():
        with pytest.raises(JobFailed):
            job.result(20)
        assert job.retry()
        assert job.result(20) == "fine"
        assert not job.retry()
