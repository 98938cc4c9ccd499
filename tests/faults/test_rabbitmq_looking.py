"""RabbitMQ's delivery limit: whoever looks at jobs, however often, takes none away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat.brokers.rabbitmq import looking
from longboat.brokers.rabbitmq.broker import RabbitmqBroker
from longboat.connect import connect
from longboat.contract.broker import Lease, Settlement
from longboat.core.job import Dead, Failure, State
from longboat.errors import BrokerMisconfigured
from longboat.testing.conformance.stage import job
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

DEAD = 30


def ids(broker: RabbitmqBroker) -> list[str]:
    return [each.id for each in broker.inspector.jobs(State.DEAD, queue="q", limit=DEAD + 1).jobs]


@pytest.fixture
def broker(rabbitmq_server: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RabbitmqBroker]:
    """With dead jobs, more than are looked at together."""
    monkeypatch.setattr(looking, "WINDOW", 20)
    with closing(connect(f"{rabbitmq_server.url}?prefix={tmp_path.name}")) as made:
        assert isinstance(made, RabbitmqBroker)
        made.put([job() for _ in range(DEAD)])
        with closing(made.consumer(["q"], lease=30.0)) as consumer:
            left = DEAD
            while left:
                leases = consumer.receive(left, wait=5.0)
                consumer.settle([Settlement(each, Dead(Failure("E", "no"))) for each in leases])
                left -= len(leases)
        yield made


def limited(server: RabbitmqServer, broker: RabbitmqBroker, limit: int) -> None:
    """By a policy for this broker's queues."""
    ours, policy = f"^{broker.carrier.names.prefix}", f'{{"delivery-limit": {limit}}}'
    server.ctl("set_policy", "limit", ours, policy, "--apply-to", "queues")


@pytest.mark.parametrize("limit", [0, 2])
def test_looking_at_dead_jobs_takes_none_away(rabbitmq_server: RabbitmqServer, broker: RabbitmqBroker, limit: int) -> None:
    rabbitmq_server.ctl(
        "set_policy", "limit", f"^{broker.carrier.names.prefix}", f'{{"delivery-limit": {limit}}}', "--apply-to", "queues"
    )
    try:
        there = ids(broker)
        assert len(set(there)) == DEAD
        for _ in range(2 * limit + 2):
            assert sorted(ids(broker)) == sorted(there)
        first, second, *others = there
        assert broker.inspector.retry([first, "unknown"]) == [first]
        assert sorted(ids(broker)) == sorted([second, *others])
        assert broker.inspector.purge([State.DEAD], queue="q", limit=3) == 3
        assert len(ids(broker)) == DEAD - 4
        assert broker.carrier.depths()["q", State.DEAD] == DEAD - 4, "nothing is left twice"
    finally:
        rabbitmq_server.ctl("clear_policy", "limit")


def test_who_could_not_put_them_back_does_not_look(rabbitmq_server: RabbitmqServer, broker: RabbitmqBroker) -> None:
    there = ids(broker)
    rabbitmq_server.ctl("add_user", "reader", "reader")
    rabbitmq_server.ctl("set_permissions", "reader", ".*", "^$", ".*")
    rabbitmq_server.ctl(
        "set_policy", "limit", f"^{broker.carrier.names.prefix}", '{"delivery-limit": 0}', "--apply-to", "queues"
    )
    url = f"{rabbitmq_server.url.replace('guest:guest', 'reader:reader')}?prefix={broker.carrier.names.prefix}"
    try:
        with closing(connect(url)) as reader, pytest.raises(BrokerMisconfigured, match=r"amq\.default"):
            reader.inspector.jobs(State.DEAD, queue="q")
        until(lambda: sorted(ids(broker)) == sorted(there), "all are there", 5.0)
    finally:
        rabbitmq_server.ctl("clear_policy", "limit")


def test_a_look_at_ready_jobs_leaves_their_order(broker: RabbitmqBroker) -> None:
    broker.put(jobs := [job(queue="r") for _ in range(5)])
    for _ in range(3):
        with broker.carrier.look({("r", 0): [jobs[2].id]}) as look:
            assert [each.id for each in look.found] == [jobs[2].id]
    with closing(broker.consumer(["r"], lease=30.0)) as consumer:
        leases: list[Lease] = []
        while len(leases) < 5:
            leases += consumer.receive(5, wait=5.0)
    assert [each.job.id for each in leases] == [each.id for each in jobs]
