"""RabbitMQ's consumer timeout, jobs that kill their workers, and acknowledgements under many threads."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat import Longboat
from longboat.connect import connect
from longboat.contract.broker import Broker, Settlement
from longboat.core.job import Done, Failure, Outcome, Release, Retry, State
from longboat.core.reasons import WORKER_DIED
from longboat.testing.conformance.stage import job
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

TIMEOUT, HOLD, LEASE = 3.0, 1.0, 2.0
"""Seconds: the server's consumer timeout, how long a delivery is held, the lease."""

KILLED = Failure("longboat.Killed", "signal 9", worker="host-1")

OUTCOMES: list[Outcome] = [Done(b""), Done(b""), Release(), Release(0.01), Retry(0.0, KILLED)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqServer]:
    options = [f"consumer_timeout = {TIMEOUT * 1000:.0f}"]
    with RabbitmqServer(tmp_path_factory.mktemp("rabbitmq"), options=options) as made:
        made.ctl(
            "eval", "application:set_env(rabbit, channel_tick_interval, 500)."
        )  # how often it looks; once a minute else
        yield made


@pytest.fixture
def url(server: RabbitmqServer, tmp_path: Path) -> str:
    return f"{server.url}?prefix={tmp_path.name}&hold={HOLD}s"


@pytest.mark.parametrize("guarded", [True, False])
def test_a_job_may_run_longer_than_the_consumer_timeout(url: str, guarded: bool) -> None:
    with closing(connect(url if guarded else url.replace(f"hold={HOLD}s", "hold=1h"))) as broker:
        broker.put([job()])
        with closing(broker.consumer(["q"], lease=LEASE)) as consumer:
            lease = consumer.receive(1, wait=5.0)[0]
            end = time.monotonic() + 2 * TIMEOUT
            while time.monotonic() < end and consumer.extend().alive:
                assert consumer.receive(1, wait=0.2) == []
            assert consumer.extend().alive == guarded, "without the guard the server must have closed the channel"
            assert consumer.settle([Settlement(lease, Done(b""))]) == ([] if guarded else [lease])
        with closing(broker.consumer(["q"], lease=LEASE)) as another:
            assert len(another.receive(1, wait=LEASE + 1.0)) == (0 if guarded else 1)


def test_what_a_dead_worker_held_for_long_comes_back(server: RabbitmqServer, broker: Broker) -> None:
    sent = job()
    broker.put([sent])
    with closing(broker.consumer(["q"], lease=LEASE)) as consumer:
        consumer.receive(1, wait=5.0)
        end = time.monotonic() + 2 * HOLD
        while time.monotonic() < end:
            assert consumer.extend().alive
            consumer.receive(1, wait=0.1)
        server.ctl("close_all_connections", "a test")
        with closing(broker.consumer(["q"], lease=60.0)) as another:
            back = another.receive(1, wait=LEASE + 5.0)
    assert [(each.job.id, each.attempt, each.worker_deaths) for each in back] == [(sent.id, 1, 1)]


def test_noted_starts_are_charged_and_no_others(server: RabbitmqServer, broker: Broker) -> None:
    jobs = [job(), job()]
    broker.put(jobs)
    first = broker.consumer(["q"], lease=60.0)
    assert len(first.receive(2, wait=5.0)) == 2
    server.ctl("close_all_connections", "a test")
    until(lambda: not first.extend().alive, "the consumer is told", 5.0)
    first.close()
    second = broker.consumer(["q"], lease=60.0)
    leases = second.receive(2, wait=5.0)
    assert [(each.attempt, each.worker_deaths, each.failures) for each in leases] == [(1, 1, 0)] * 2
    assert second.settle([], started=leases[:1]) == []
    server.ctl("close_all_connections", "a test")
    until(lambda: not second.extend().alive, "the consumer is told", 5.0)
    assert broker.evict(second.id, KILLED) == 1
    assert broker.evict(second.id, KILLED) == 0
    second.close()
    with closing(broker.consumer(["q"], lease=60.0)) as third:
        back = {}
        until(
            lambda: bool(back.update({each.job.id: each for each in third.receive(2, wait=1.0)})) or len(back) == 2, "", 9.0
        )
        told = [(back[each.id].attempt, back[each.id].worker_deaths, back[each.id].failures) for each in jobs]
        assert told == [(2, 2, 1), (1, 2, 0)]


def test_a_settled_start_leaves_nothing_behind(broker: Broker) -> None:
    broker.put([job(), job()])
    with closing(broker.consumer(["q"], lease=60.0)) as consumer:
        done, left = consumer.receive(2, wait=5.0)
        done.worker_deaths = left.worker_deaths = 1
        consumer.settle([], started=[done, left])
        assert consumer.settle([Settlement(done, Done(b""))]) == []
    with closing(broker.consumer(["q"], lease=60.0)) as another:
        assert [each.job.id for each in another.receive(2, wait=5.0)] == [left.job.id]
        assert another.receive(1, wait=0.3) == []


APP = """
import os, signal
from longboat import Longboat
app = Longboat(os.environ["LONGBOAT_URL"])
@app.task(name="poison", retries=2)
def poison() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
@app.task(name="good")
def good(n: int) -> None:
    with open("out", "a") as file:
        file.write(f"{n}\\n")
"""


def test_a_poison_job_is_dead_after_its_attempts(url: str, broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    app = Longboat(url)

    @app.task(name="poison", retries=2)
    def poison() -> None: ...

    @app.task(name="good")
    def good(n: int) -> None: ...

    poison.enqueue()
    good.enqueue_many([(n,) for n in range(20)])
    out, command = tmp_path / "out", [sys.executable, "-m", "longboat", "worker", "app:app", "--queues", "default"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"LONGBOAT_URL": url}, stdout=log, stderr=log)
    try:
        until(lambda: bool(broker.inspector.jobs(State.DEAD, queue="default").jobs), "the poison is dead", 60.0)
        until(lambda: out.exists() and len(set(out.read_text().split())) == 20, "its neighbours ran", 30.0)
        assert worker.poll() is None
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(20.0)
        app.close()
    (view,) = broker.inspector.jobs(State.DEAD, queue="default").jobs
    assert view.attempts == 3
    assert {failure.type for failure in view.failures} <= {WORKER_DIED, "longboat.Killed", "longboat.WorkerDied"}


def test_many_threads_end_every_job_once(url: str) -> None:
    brokers = [connect(url), connect(url)]
    jobs, done, lock = [job(priority=n % 3 - 1) for n in range(400)], list[str](), threading.Lock()
    for at in range(0, 400, 50):
        brokers[0].put(jobs[at : at + 50])

    def work(seed: int) -> None:
        chance = random.Random(seed)
        consumer = brokers[seed % 2].consumer(["q"], lease=60.0)
        end = time.monotonic() + 30.0
        while len(done) < len(jobs) and time.monotonic() < end:
            leases = consumer.receive(chance.randint(1, 9), wait=0.05)
            if chance.random() < 0.1:
                consumer.close()
                consumer = brokers[seed % 2].consumer(["q"], lease=60.0)
                continue
            chance.shuffle(leases)
            settlements = [Settlement(lease, chance.choice(OUTCOMES)) for lease in leases]
            half = len(leases) // 2
            refused = consumer.settle(settlements[:half]) + consumer.settle(settlements[half:], started=leases[half:])
            assert refused == []
            with lock:
                done.extend(each.lease.job.id for each in settlements if isinstance(each.outcome, Done))
        consumer.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(each.id for each in jobs)
    with closing(brokers[0].consumer(["q"], lease=60.0)) as last:
        assert last.receive(1, wait=0.3) == []
    for broker in brokers:
        broker.close()
