"""Results on RabbitMQ alone: they reach who put a job, whatever happens to the server, connections and workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat import JobFailed, Longboat, gather
from longboat.core import urls
from longboat.errors import BrokerMisconfigured, BrokerUnavailable, Unsupported
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

JOBS = 600

TASKS = """
import os, signal, time
from longboat import Longboat

app = Longboat()

@app.task(name="double")
def double(n: int) -> int:
    time.sleep(0.005)
    return 2 * n

@app.task(name="poison")
def poison() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def app(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> Iterator[Longboat]:
    with Longboat(f"{rabbitmq_server.url}?prefix={tmp_path.name}") as made:

        @made.task(name="double")
        def double(n: int) -> int:
            raise NotImplementedError(n)

        yield made


@contextlib.contextmanager
def worker(app: Longboat, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "tasks.py").write_text(TASKS)
    command = [sys.executable, "-m", "longboat", "worker", "tasks:app", "-q", "default", "--log-level", "error"]
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "LONGBOAT_URL": urls.whole(app.url)}) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.parametrize("kind", ["closed", "killed"])
def test_every_result_arrives_after_an_outage(
    rabbitmq_server: RabbitmqServer, app: Longboat, tmp_path: Path, kind: str
) -> None:
    jobs = app.named("double").enqueue_many((n,) for n in range(JOBS))
    with worker(app, tmp_path):
        assert jobs[JOBS // 6].result("30s") == JOBS // 3  # in the middle
        if kind == "closed":
            rabbitmq_server.ctl("close_all_connections", "a test")
        else:
            rabbitmq_server.kill()
            rabbitmq_server.start()
        assert gather(*jobs).result("60s") == [2 * n for n in range(JOBS)]


def test_every_result_arrives_when_the_worker_is_killed(app: Longboat, tmp_path: Path) -> None:
    jobs = app.named("double").enqueue_many((n,) for n in range(JOBS))
    with worker(app, tmp_path) as first:
        jobs[JOBS // 6].result("30s")
        with worker(app, tmp_path):
            os.kill(first.pid, signal.SIGKILL)
            assert gather(*jobs).result("60s") == [2 * n for n in range(JOBS)]


def test_what_kills_its_worker_is_told_as_dead(app: Longboat, tmp_path: Path) -> None:
    poison = app.send("poison")
    with worker(app, tmp_path), pytest.raises(JobFailed, match="its worker died while it ran"):
        poison.result("60s")


def test_a_server_that_blocks_publishers_delays_results_but_no_job(
    rabbitmq_server: RabbitmqServer, app: Longboat, tmp_path: Path
) -> None:
    jobs = app.named("double").enqueue_many((n,) for n in range(20))
    rabbitmq_server.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        with worker(app, tmp_path):
            until(lambda: not app.broker.inspector.counts(), "no job is ready", 30.0)
            with pytest.raises(BrokerUnavailable):
                app.send("double", 1)
            rabbitmq_server.ctl("set_vm_memory_high_watermark", "0.4")
            assert gather(*jobs).result("30s") == [2 * n for n in range(20)]
    finally:
        rabbitmq_server.ctl("set_vm_memory_high_watermark", "0.4")


def test_who_did_not_put_a_job_is_told_what_would_tell_its_result(app: Longboat) -> None:
    job = app.send("double", 1)
    code = "import sys; from longboat import Longboat; Longboat(sys.argv[1]).job(sys.argv[2]).result('5s')"
    done = subprocess.run(
        [sys.executable, "-c", code, urls.whole(app.url), job.id], capture_output=True, text=True, check=False
    )
    assert "Unsupported" in done.stderr
    assert "?results=" in done.stderr


def test_an_id_of_ones_own_is_known(app: Longboat, tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        app.job("order-17").result("1s")
    job = app.named("double").using(id="order-17").enqueue(17)
    with worker(app, tmp_path):
        assert job.result("30s") == 34
        assert app.job("order-17").result("1s") == 34


def test_a_mailbox_is_deleted_with_its_client(rabbitmq_server: RabbitmqServer, app: Longboat, tmp_path: Path) -> None:
    app.send("double", 1)
    assert mailboxes(rabbitmq_server, tmp_path.name)
    app.close()
    until(lambda: not mailboxes(rabbitmq_server, tmp_path.name), "the mailbox is deleted", 10.0)


def test_who_may_have_no_mailbox_may_enqueue(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> None:
    rabbitmq_server.ctl("add_user", "deaf", "secret")
    rabbitmq_server.ctl("set_permissions", "deaf", ".*", ".*", r"\.arrivals$")
    with Longboat(f"{rabbitmq_server.url}?prefix={tmp_path.name}".replace("guest:guest", "deaf:secret")) as app:
        job = app.send("double", 1)
        with pytest.raises(BrokerMisconfigured, match="mailbox"):
            job.result("5s")


def mailboxes(rabbitmq_server: RabbitmqServer, prefix: str) -> list[str]:
    names = rabbitmq_server.ctl("-q", "list_queues", "name", "--no-table-headers").split()
    return [name for name in names if name.startswith(prefix) and name.endswith(".mailbox")]
