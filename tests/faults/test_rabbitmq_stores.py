"""RabbitMQ beside each store that is a server: what it keeps, and that nothing is lost or run twice when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat import Longboat
from longboat.connect import connect
from longboat.contract.broker import Broker, Settlement
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints
from longboat.core.job import Done, Failure, Outcome, Retry, State
from longboat.errors import BrokerUnavailable
from longboat.testing.conformance.stage import job
from tests.rigs.harnesses import NewRabbitmq
from tests.rigs.servers.manager import ManagerServer
from tests.rigs.servers.postgres import PostgresServer
from tests.rigs.servers.postgres import available as postgres_unavailable
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import available
from tests.rigs.servers.redis import RedisServer
from tests.rigs.servers.redis import available as redis_unavailable

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


Store = RedisServer | PostgresServer | ManagerServer


@pytest.fixture(scope="module", params=["redis", "postgres", "manager"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp(request.param)
    made: Store
    if request.param == "redis":
        if reason := redis_unavailable():
            pytest.skip(reason)
        made = RedisServer(folder, appendonly=True)
    elif request.param == "postgres":
        if reason := postgres_unavailable():
            pytest.skip(reason)
        made = PostgresServer(folder)
    else:
        made = ManagerServer(folder)
    with made:
        yield made


@pytest.fixture
def url(store: Store, tmp_path: Path) -> str:
    new = NewRabbitmq(tmp_path, SYSTEM)
    return f"{new.server.url}?prefix={new.prefix}&results={store.url}{'&' if '?' in store.url else '?'}timeout=500ms"


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    with closing(connect(url)) as made:
        yield made


def test_a_killed_store_loses_nothing_that_was_told(broker: Broker, store: Store) -> None:
    parent, again, queued = job(), job(), job(priority=-1)
    child = job(constraints=Constraints(after=[parent.id]))
    jobs = [parent, again, queued, child]
    assert broker.put(jobs) == [each.id for each in jobs]
    with closing(broker.consumer(["q"], lease=60.0, name="w")) as consumer, closing(broker.results.listen()) as listener:
        listener.watch([child.id])
        mine = consumer.receive(2, wait=10.0)
        assert {lease.job.id for lease in mine} == {parent.id, again.id}
        outcomes: dict[str, Outcome] = {parent.id: Done(b"first"), again.id: Retry(0.0, Failure("E", "no"))}
        settlements = [Settlement(lease, outcomes[lease.job.id]) for lease in mine]
        store.kill()
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            consumer.settle(settlements)
        with pytest.raises(BrokerUnavailable):
            broker.put([job()])
        with pytest.raises(BrokerUnavailable):
            consumer.receive(1, wait=5.0)
        assert consumer.extend().alive, "a consumer that cannot reach the store lives on"
        assert time.monotonic() - began < 5.0
        store.start()
        assert consumer.settle(settlements) == []
        assert broker.put(jobs) == [], "ids were forgotten"
        found: dict[str, tuple[int, list[bytes]]] = {}
        while len(found) < 3:
            (lease,) = consumer.receive(1, wait=10.0)
            assert lease.job.id not in found, "it was received twice"
            found[lease.job.id] = lease.attempt, list(lease.inputs)
            assert consumer.settle([Settlement(lease, Done(b"then"))]) == []
        assert found == {again.id: (2, []), queued.id: (1, []), child.id: (1, [b"first"])}
        assert consumer.receive(5, wait=0.3) == []
        assert [(result.id, result.value) for result in listener.wait(5.0)] == [(child.id, b"then")]
    ends = broker.results.get([each.id for each in jobs])
    assert [end and (end.state, end.value) for end in ends] == [
        (State.SUCCEEDED, b"first"),
        *[(State.SUCCEEDED, b"then")] * 3,
    ]


APP = """
import os, time
from longboat import Longboat
app = Longboat(os.environ["LONGBOAT_URL"])
@app.task(name="double")
def double(n: int) -> int:
    with open("runs", "a") as runs:
        runs.write(f"{n}\\n")
    time.sleep(0.01)
    return 2 * n
"""

JOBS = 200


def test_a_worker_drains_across_the_death_of_the_store(url: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    app = Longboat(url)

    @app.task(name="double")
    def double(n: int) -> int:
        raise NotImplementedError  # the worker has another one, which is run

    handles = double.enqueue_many([(n,) for n in range(JOBS)])
    command = [sys.executable, "-m", "longboat", "worker", "app:app", "--queues", "default", "--threads", "2"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"LONGBOAT_URL": url}, stdout=log, stderr=log)
    try:
        until(lambda: app.broker.results.get([handles[0].id])[0] is not None, "the worker works", 30.0)
        store.kill()
        assert len((tmp_path / "runs").read_text().split()) < JOBS, "it was killed too late"
        store.start()
        assert [handle.result(timeout=30.0) for handle in handles] == [2 * n for n in range(JOBS)]
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(20.0)
        app.close()
    runs = Counter((tmp_path / "runs").read_text().split())
    assert runs == {str(n): 1 for n in range(JOBS)}, "the worker lived: each job is run once"
