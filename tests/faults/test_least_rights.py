"""The least rights of docs/security.md, word for word: what producers, workers and viewers may do with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from longboat.connect import connect
from longboat.contract.broker import Broker, Settlement
from longboat.contract.optional import diagnosis
from longboat.core.job import Dead, Done, Failure, Outcome, State
from longboat.errors import BrokerError, BrokerMisconfigured
from longboat.testing.conformance.stage import job
from tests.rigs.servers import postgres, rabbitmq, redis
from tests.rigs.servers.process import HOST

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()

pytestmark = pytest.mark.slow


def lines(heading: str) -> list[str]:
    """Of the first block below a heading."""
    found = re.search(rf"^### {heading}$.*?^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1].splitlines()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.RedisServer]:
    if why := redis.available():
        pytest.skip(why)
    with redis.RedisServer(tmp_path_factory.mktemp("redis"), appendonly=True) as made:
        for line in lines("Redis"):
            made.command(*line.split())
        yield made


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.PostgresServer]:
    if why := postgres.available():
        pytest.skip(why)
    with postgres.PostgresServer(tmp_path_factory.mktemp("postgres")) as made:
        with closing(connect(made.url)) as owner:
            owner.inspector.counts()
        made.query("CREATE ROLE worker LOGIN; CREATE ROLE viewer LOGIN;" + "\n".join(lines("PostgreSQL")))
        yield made


@pytest.fixture(scope="module")
def rabbitmq_server(one_rabbitmq: rabbitmq.RabbitmqServer) -> Iterator[rabbitmq.RabbitmqServer]:
    if why := rabbitmq.available():
        pytest.skip(why)
    made, users = one_rabbitmq.start(), []
    for line in lines("RabbitMQ"):
        verb, user, *rights = line.split()
        made.ctl("add_user", user, "secret")
        users.append(user)
        made.ctl(verb, user, *rights)
    yield made
    for user in users:
        made.ctl("delete_user", user)


@pytest.fixture(params=["redis", "postgres", "rabbitmq"])
def as_user(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """A broker for a user of the page."""
    server = request.getfixturevalue(f"{request.param}_server")

    def url(user: str) -> str:
        if request.param == "redis":
            return f"redis://{user}:secret@{HOST}:{server.port}"
        return str(server.url).replace("longboat@", f"{user}@").replace("guest:guest@", f"{user}:secret@")

    return lambda user: connect(url(user))


def run(broker: Broker, n: int) -> None:
    """One job dies, the others succeed."""
    with closing(broker.consumer(["q"], lease=30.0)) as consumer:
        outcomes: list[Outcome] = [Dead(Failure("E", "no")), *(Done(b"") for _ in range(n - 1))]
        while outcomes:
            leases = consumer.receive(len(outcomes), wait=5.0)
            assert leases
            assert consumer.settle([Settlement(lease, outcomes.pop(0)) for lease in leases]) == []
            assert consumer.extend().alive


def test_a_worker_runs_jobs(as_user: Callable[[str], Any]) -> None:
    with closing(as_user("worker")) as broker:
        broker.put([job(), job(), job(delay=0.05)])
        run(broker, 3)
        dead = broker.inspector.jobs(State.DEAD, queue="q").jobs
        assert broker.inspector.retry([each.id for each in dead]) == [each.id for each in dead] != []
        run(broker, 1)
        if (report := diagnosis(broker)) is not None:
            assert report.findings == []


@pytest.mark.parametrize("as_user", ["redis", "postgres"], indirect=True)
def test_a_viewer_looks_and_changes_nothing(as_user: Callable[[str], Any]) -> None:
    with closing(as_user("worker")) as worker, closing(as_user("viewer")) as viewer:
        worker.put([job() for _ in range(3)])
        run(worker, 2)
        worker.put([late := job(delay=60.0)])
        worker.kv.write("n", [])
        with closing(worker.consumer(["q"], lease=30.0, name="w")):
            assert viewer.inspector.counts() == worker.inspector.counts()
            assert [each.name for each in viewer.inspector.consumers()] == ["w"]
            for state in State:
                assert viewer.inspector.jobs(state) == worker.inspector.jobs(state)
            (seen,) = viewer.inspector.find([late.id])
            assert seen is not None
            assert seen.state is State.SCHEDULED
            assert viewer.inspector.limits(["none"]) == worker.inspector.limits(["none"])
            assert viewer.kv.entries("n") == []
            changes: list[Callable[[], object]] = [
                lambda: viewer.put([job()]),
                lambda: viewer.inspector.cancel([late.id]),
                lambda: viewer.inspector.purge([State.DEAD]),
                lambda: viewer.consumer(["q"], lease=30.0),
            ]
            for change in changes:
                with pytest.raises(BrokerError):
                    change()
        report = diagnosis(viewer)
        assert report is not None
        assert not report.serious
        worker.inspector.purge(list(State))


@pytest.mark.parametrize("as_user", ["rabbitmq"], indirect=True)
def test_a_producer_takes_nothing(as_user: Callable[[str], Any]) -> None:
    with closing(as_user("producer")) as producer, closing(as_user("worker")) as worker:
        producer.put([awaited := job(), job(delay=0.05)])
        with pytest.raises(BrokerMisconfigured), closing(producer.consumer(["q"], lease=30.0)) as consumer:
            consumer.receive(1, wait=1.0)
        run(worker, 2)
        with closing(producer.results.listen()) as listener:
            listener.watch([awaited.id])
            assert [result.id for result in listener.wait(10.0)] == [awaited.id]
        with pytest.raises(BrokerMisconfigured):
            producer.inspector.jobs(State.DEAD, queue="q")
