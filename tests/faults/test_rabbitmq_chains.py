"""Chains on RabbitMQ alone: the steps travel in messages, whatever happens to workers and to the server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat import Flow, JobCancelled, JobFailed, Longboat, as_completed, gather, group
from longboat.core import urls
from longboat.errors import BrokerUnavailable, TooLarge, Unsupported
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

STEPS = '''
import os, signal, time
from pathlib import Path
from longboat import Longboat, current
from longboat.contract.carried import CarriedConsumer

app = Longboat()
record = CarriedConsumer._record

def die(moment):
    if os.environ.get("KILL") == moment and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)

def dying(self, applied, started):
    """Dies where KILL says, at the first settle of a job in a chain."""
    armed = any(each.chain for each, _ in applied)
    if armed:
        die("before")
    refused = record(self, applied, started)
    if armed:
        die("between")
    return refused

CarriedConsumer._record = dying

@app.task(name="step", retries=2, backoff="50ms")
def step(n: int, name: str = "") -> int:
    if "KILL" in os.environ:
        time.sleep(0.2)  # what is killed meanwhile has not run
    with open("ran", "a") as file:
        print(name, file=file)
    if name == "flaky" and current().attempt == 1:
        raise ValueError("not yet")
    return n + 1

@app.task(name="fragile", retries=0)
def fragile(n: int) -> int:
    if not Path("mended").exists():
        raise ValueError("it is broken")
    return n + 1

@app.task(name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)
'''


@pytest.fixture
def app(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> Iterator[Longboat]:
    with Longboat(f"{rabbitmq_server.url}?prefix={tmp_path.name}") as made:
        yield made


def tasks(app: Longboat) -> tuple[Any, Any, Any]:
    @app.task(name="step", keep_result="1h")
    def step(n: int, name: str = "") -> int:
        raise NotImplementedError(n)

    @app.task(name="fragile", keep_result=0)
    def fragile(n: int) -> int:
        raise NotImplementedError(n)

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        raise NotImplementedError(numbers)

    return step, fragile, total


@contextlib.contextmanager
def worker(app: Longboat, folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "tasks.py").write_text(STEPS)
    command = [sys.executable, "-m", "longboat", "worker", "tasks:app", "-q", "default", "--log-level", "error"]
    environ = {**os.environ, "LONGBOAT_URL": urls.whole(app.url), **environment}
    with subprocess.Popen(command, cwd=folder, env=environ) as process:
        try:
            yield process
        finally:
            process.terminate()


def knows(app: Longboat, flow_id: str) -> bool:
    try:
        return app.flow(flow_id).id == flow_id
    except BrokerUnavailable:
        return False


def ended(flow: Flow[int]) -> int | None:
    """None: what failed before is all that is known."""
    try:
        return flow.result("1s")
    except JobFailed:
        return None


@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_chain_goes_on_when_its_worker_is_killed_at_a_step(app: Longboat, tmp_path: Path, moment: str) -> None:
    step, _, _ = tasks(app)
    flow = step.s(0, "first").then(step, "second").then(step, "third").enqueue()
    with worker(app, tmp_path, KILL=moment):
        assert flow.result("30s") == 3
    assert (tmp_path / "killed").exists()
    assert Counter((tmp_path / "ran").read_text().split()) == {"first": 2, "second": 1, "third": 1}


@pytest.mark.parametrize("kind", ["closed", "killed"])
def test_chains_go_on_after_an_outage(rabbitmq_server: RabbitmqServer, app: Longboat, tmp_path: Path, kind: str) -> None:
    step, _, _ = tasks(app)
    flow = group(
        *[step.s(n, f"a{n}").then(step, f"b{n}").then(step, f"c{n}").then(step, f"d{n}") for n in range(400)]
    ).enqueue()
    with worker(app, tmp_path):
        until(lambda: (tmp_path / "ran").exists() and "d" in (tmp_path / "ran").read_text(), "some have ended", 30.0)
        if kind == "closed":
            rabbitmq_server.ctl("close_all_connections", "a test")
        else:
            time.sleep(2.0)  # a server killed within a second of a stream's first line does not bring the stream back
            rabbitmq_server.kill()
            rabbitmq_server.start()
            until(lambda: knows(app, flow.id), "the server has its stream again", 30.0)
        assert flow.result("60s") == [n + 4 for n in range(400)]
    assert set((tmp_path / "ran").read_text().split()) == {f"{name}{n}" for name in "abcd" for n in range(400)}


def test_members_retry_and_results_come_as_they_end(app: Longboat, tmp_path: Path) -> None:
    step, _, _ = tasks(app)
    with worker(app, tmp_path):
        first = step.s(0, "flaky")
        flow = group(first.then(step, "flaky"), first.then(step), step.s(10)).enqueue()
        assert flow.result("30s") == [2, 2, 11]
        jobs = flow.jobs()
        assert sorted(job.result("1s") for job in as_completed(jobs, timeout="10s")) == [1, 2, 2, 11]
        assert gather(*jobs).result("1s") == [1, 2, 2, 11]
        assert group(step.s(1)).then(tasks(app)[2]).enqueue().result("30s") == 2
    assert (tmp_path / "ran").read_text().split().count("flaky") == 4


def test_who_waits_for_a_later_step_is_told_what_failed(app: Longboat, tmp_path: Path) -> None:
    step, fragile, _ = tasks(app)
    flow = step.s(0).then(fragile).then(step).then(step).enqueue()
    second, last = flow.jobs()[1], flow.jobs()[-1]
    with worker(app, tmp_path):
        with pytest.raises(JobFailed, match="it is broken") as last_one:
            last.result("30s")
        with pytest.raises(JobFailed) as whole:
            flow.result("30s")
        with pytest.raises(JobFailed) as watched:
            list(last.watch())
        assert last_one.value.job_id == whole.value.job_id == watched.value.job_id == second.id
        with pytest.raises(JobFailed):
            gather(*flow.jobs()).result("30s")
        (tmp_path / "mended").touch()
        assert app.broker.inspector.retry([second.id]) == [second.id]
        until(lambda: ended(flow) == 4, "the flow goes on", 30.0)
        assert app.job(last.id).result("1s") == 4


def test_a_step_that_expires_is_told_to_who_waits_for_a_later_one(app: Longboat, tmp_path: Path) -> None:
    step, _, _ = tasks(app)
    slow = step.s(0).then(step.using(delay="600ms", expires="300ms")).then(step)
    flow = slow.enqueue()
    with worker(app, tmp_path), pytest.raises(JobCancelled, match=f"{flow.jobs()[1].id} was cancelled: .*expired"):
        flow.jobs()[-1].result("30s")
    assert flow.jobs()[-1].cancel(), "it has not ended"


def test_a_flow_is_cancelled_as_a_whole(app: Longboat, tmp_path: Path) -> None:
    step, _, _ = tasks(app)
    flow = step.s(0).then(step).then(step).enqueue()
    assert flow.cancel() == 3
    first, _, last = flow.jobs()
    with worker(app, tmp_path):
        with pytest.raises(JobCancelled, match=f"{first.id} was cancelled"):
            last.result("30s")
        with pytest.raises(JobCancelled, match=f"{first.id} was cancelled"):
            flow.result("30s")
    assert not (tmp_path / "ran").exists()


def test_what_needs_a_store_says_so(app: Longboat) -> None:
    step, _, total = tasks(app)
    with pytest.raises(Unsupported, match=r"cannot run a job after several others.*\?results="):
        group(step.s(1), step.s(2)).then(total).enqueue()
    big = step.s(0)
    for _ in range(3):
        big = big.then(step, "x" * 400_000)
    with pytest.raises(TooLarge, match="would bring 3 jobs after it"):
        big.enqueue()
