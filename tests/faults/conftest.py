"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat.connect import connect
from longboat.contract.broker import Broker
from tests.rigs.fault import Yard
from tests.rigs.servers.rabbitmq import RabbitmqServer


@pytest.fixture(scope="session")
def one_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqServer]:
    made = RabbitmqServer(tmp_path_factory.mktemp("rabbitmq"))
    yield made
    made.kill()  # it takes seconds to leave by itself


@pytest.fixture
def rabbitmq_server(one_rabbitmq: RabbitmqServer) -> RabbitmqServer:
    """One for many tests, each with a prefix of its own: it takes seconds to start. A test leaves it as it found it."""
    return one_rabbitmq.start()


@pytest.fixture
def url(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> str:
    """Where a module names none, of RabbitMQ."""
    return f"{rabbitmq_server.url}?prefix={tmp_path.name}"


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    with closing(connect(url)) as made:
        yield made


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """A queue of its own, whose worker trees are all gone afterwards."""
    with Yard(tmp_path) as made:
        yield made
