"""What a broker offers beyond the contract is what it declares, and is found by that."""

from __future__ import annotations

from typing import Any

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.connect import connect
from longboat.contract.broker import Broker
from longboat.contract.capabilities import EXTRAS, WHOLE_CONTRACT, Capability, absent, keepers, lacking, unsupported
from longboat.contract.optional import diagnosis, migrations, tidy_of, transactional
from longboat.errors import Unsupported

OURS = {
    "SQLite": "sqlite:///queue.db",
    "Redis": "redis://localhost/",
    "PostgreSQL": "postgresql://localhost/",
    "RabbitMQ": "amqp://localhost/",
    "memory": "memory://",
}
METHODS = {
    Capability.TIDY: "tidy",
    Capability.TRANSACTIONAL: "within",
    Capability.DIAGNOSE: "diagnose",
    Capability.MIGRATE: "migrations",
    Capability.BROADCAST: "broadcast",
    Capability.REVOKE_ALL: "revoke_all",
}


@pytest.fixture(params=OURS)
def broker(request: pytest.FixtureRequest) -> Any:
    """Not connected: what a broker can do is known before."""
    with_it = connect(OURS[request.param])
    yield with_it
    with_it.close()


def test_what_is_declared_is_there_and_the_other_way_round(broker: Broker) -> None:
    there = {capability for capability, name in METHODS.items() if name in dir(broker)}
    assert broker.capabilities & EXTRAS == there
    assert set(METHODS) == EXTRAS


@pytest.mark.parametrize("capability", [each for each in Capability if each is not Capability.TIDY])
def test_a_message_names_those_that_can_and_whose_jobs_are_not_gone_with_a_process(capability: Capability) -> None:
    named = set(keepers(capability).split(", "))
    assert named, "nobody can"
    for name in ("SQLite", "Redis", "PostgreSQL"):
        assert (capability in connect(OURS[name]).capabilities) == (name in named), name
    assert "memory" not in named


def test_what_is_lacking_raises_or_is_none() -> None:
    broker = MemoryBroker()
    broker.capabilities = WHOLE_CONTRACT
    with pytest.raises(Unsupported, match=r"MemoryBroker cannot put jobs within the transaction.*the app an outbox="):
        transactional(broker)
    assert tidy_of(broker) is None
    assert diagnosis(broker) is None
    assert migrations(broker) is None
    assert lacking(broker) == []


def test_the_sentence_says_what_to_add() -> None:
    error = unsupported(Capability.KV, "Mine", what="keep a schedule", instead="Give it a store: ?results=…")
    assert str(error) == (
        "Mine cannot keep a schedule. Give it a store: ?results=…. Brokers that can: SQLite, Redis, PostgreSQL, manager"
    )
    assert "Mine cannot keep what is not a job" in str(unsupported(Capability.KV, "Mine"))


def test_every_call_of_an_absent_part_raises_an_error_of_its_own() -> None:
    part, errors = absent(unsupported(Capability.KV, "Mine")), []
    read = part.read  # to name it is no call
    for call in (read, part.entries):
        with pytest.raises(Unsupported, match="Mine cannot keep") as raised:
            call("namespace")
        errors.append(raised.value)
    assert errors[0] is not errors[1]
    assert not hasattr(part, "__len__")
