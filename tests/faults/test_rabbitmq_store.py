"""RabbitMQ beside a store: processes killed between a note and what follows of it, and a store that is out of reach."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from longboat import Longboat
from longboat.contract.broker import Broker, Settlement
from longboat.contract.kv import Entry
from longboat.core.constraints import Constraints
from longboat.core.job import Done, Job, State
from longboat.errors import BrokerUnavailable
from longboat.testing.conformance.stage import job
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

PUT = """
import os, signal, sys
from longboat.connect import connect
from longboat.core.job import Job
def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
broker = connect(sys.argv[1])
broker.carrier.send = die
broker.put([Job(1, sys.argv[2], "t", b"\\x80", "q")], token=("client", 7))
"""

SETTLE = """
import os, signal, sys
from longboat.contract.broker import Settlement
from longboat.connect import connect
from longboat.core.job import Done
def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
broker = connect(sys.argv[1])
consumer = broker.consumer(["q"], lease=60.0, name="dies")
(lease,) = consumer.receive(1, wait=10.0)
if sys.argv[2] == "ack":
    consumer._receiver.acknowledge = die
elif sys.argv[2] == "follow":
    broker._endings._follow = die
consumer.settle([Settlement(lease, Done(b"first"))])
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def url(rabbitmq_server: RabbitmqServer, tmp_path: Path, store: Path) -> str:
    return f"{rabbitmq_server.url}?prefix={tmp_path.name}&results=sqlite:///{store}?timeout=500ms"


def killed(script: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@contextmanager
def out_of_reach(store: Path) -> Iterator[None]:
    """Whoever writes to the store finds it locked."""
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield
        db.execute("ROLLBACK")


def follower(parent: Job) -> Job:
    return job(constraints=Constraints(after=[parent.id]))


@pytest.mark.parametrize("moment", ["ack", "follow"])
def test_a_worker_killed_after_it_wrote_the_result_ends_the_job_once(url: str, broker: Broker, moment: str) -> None:
    parent = job()
    child = follower(parent)
    broker.put([parent, child])
    killed(SETTLE, url, moment)
    assert broker.inspector.find([parent.id])[0] is not None
    with closing(broker.consumer(["q"], lease=60.0)) as consumer:
        (lease,) = consumer.receive(5, wait=10.0)
        assert (lease.job.id, list(lease.inputs)) == (child.id, [b"first"])
        assert consumer.receive(5, wait=0.5) == [], "what has ended was received again"
        assert consumer.settle([Settlement(lease, Done(b"second"))]) == []
    ends = broker.results.get([parent.id, child.id])
    assert [(end.state, end.value, end.attempts) for end in ends if end] == [
        (State.SUCCEEDED, b"first", 1),
        (State.SUCCEEDED, b"second", 1),
    ]


@pytest.mark.parametrize("token", [("client", 7), ("other", 1), None])
def test_a_put_killed_before_its_publish_is_made_by_who_puts_again(
    url: str, broker: Broker, token: tuple[str, int] | None
) -> None:
    sent = job()
    killed(PUT, url, sent.id)
    with closing(broker.consumer(["q"], lease=60.0)) as consumer:
        assert consumer.receive(1, wait=0.5) == [], "it was not published"
        for _ in range(3):
            broker.put([sent], token=token)
        (lease,) = consumer.receive(5, wait=10.0)
        assert lease.job.id == sent.id
        assert consumer.receive(5, wait=0.5) == [], "a second message of it was received"
        assert consumer.settle([Settlement(lease, Done(b""))]) == []
        broker.put([sent], token=token)
        assert consumer.receive(5, wait=0.5) == []


def test_a_settle_is_tried_again_when_the_store_is_back(broker: Broker, store: Path) -> None:
    jobs = [job(), job()]
    broker.put(jobs)
    with closing(broker.consumer(["q"], lease=60.0)) as consumer:
        (lease,) = consumer.receive(1, wait=10.0)
        with out_of_reach(store):
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                consumer.settle([Settlement(lease, Done(b"x"))])
            with pytest.raises(BrokerUnavailable):
                broker.put([job()])
            with pytest.raises(BrokerUnavailable):
                consumer.receive(1, wait=5.0)
            assert time.monotonic() - began < 6.0
            assert consumer.extend().alive, "a consumer that cannot reach the store lives on"
        assert consumer.settle([Settlement(lease, Done(b"x"))]) == []
        (other,) = consumer.receive(1, wait=10.0)
        assert {lease.job.id, other.job.id} == {each.id for each in jobs}
        assert consumer.settle([Settlement(other, Done(b"y"))]) == []
    assert [end and end.state for end in broker.results.get([each.id for each in jobs])] == [State.SUCCEEDED] * 2


APP = """
import os, time
from longboat import Longboat
app = Longboat(os.environ["LONGBOAT_URL"])
@app.task(name="double")
def double(n: int) -> int:
    time.sleep(0.005)
    return 2 * n
"""

JOBS = 300


def test_a_worker_drains_across_an_outage_of_the_store(url: str, store: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    app = Longboat(url)

    @app.task(name="double")
    def double(n: int) -> int:
        raise NotImplementedError  # the worker has another one, which is run

    handles = double.enqueue_many([(n,) for n in range(JOBS)])
    command = [sys.executable, "-m", "longboat", "worker", "app:app", "--queues", "default"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"LONGBOAT_URL": url}, stdout=log, stderr=log)
    try:
        until(lambda: app.broker.results.get([handles[0].id])[0] is not None, "the worker works", 30.0)
        with out_of_reach(store):
            time.sleep(3.0)
        assert [handle.result(timeout=60.0) for handle in handles] == [2 * n for n in range(JOBS)]
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(20.0)
        app.close()


def test_an_id_cancelled_in_its_queue_and_put_again_when_it_is_forgotten_runs_as_it_was_put_last(broker: Broker) -> None:
    first, second = job(queue="q", id="mine", payload=b"first"), job(queue="q", id="mine", payload=b"second")
    broker.put([first])
    assert broker.inspector.cancel(["mine"]) == ["mine"]
    ledger = broker._ledger  # type: ignore[attr-defined]  # what this adapter has of its own
    ledger.write([Entry(f"{kind}/mine", None) for kind in "me"])  # as after a day
    assert broker.put([second]) == ["mine"]
    with closing(broker.consumer(["q"], lease=30.0)) as consumer:
        (lease,) = consumer.receive(5, wait=10.0)
        assert lease.job.payload == b"second"
        assert consumer.settle([Settlement(lease, Done(b"x"))]) == []
        assert consumer.receive(5, wait=0.5) == []
