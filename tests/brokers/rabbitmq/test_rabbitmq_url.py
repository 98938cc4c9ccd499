"""How the URL of a store is named in the URL of the server."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from longboat.brokers.companion import CompanionBroker
from longboat.brokers.rabbitmq import RabbitmqBroker
from longboat.connect import connect
from longboat.contract.capabilities import Capability
from longboat.contract.kv import Entry
from longboat.core.urls import shown
from longboat.errors import ConfigError

WITHOUT_STORE = {Capability.BROADCAST, Capability.REVOKE_ALL}
"""What only a broker that cannot look jobs up needs."""


@pytest.mark.parametrize(
    "write",
    [
        lambda store: f"?prefix=p&results={store}",
        lambda store: f"?results={store}?timeout=1s&synchronous=normal",
        lambda store: f"?results={quote(f'{store}?timeout=1s', safe='')}&prefix=p",
    ],
    ids=["last", "last with options", "encoded"],
)
def test_a_store_is_opened_beside_it(tmp_path: Path, write: object) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    assert callable(write)
    with closing(connect(f"amqp://localhost/{write(store)}")) as broker, closing(connect(store)) as there:
        assert isinstance(broker, CompanionBroker)
        there.kv.write("space", [Entry("key", b"value")])
        assert broker.kv.read("space", ["key"]) == [b"value"]
        assert broker.capabilities > RabbitmqBroker.capabilities - WITHOUT_STORE
        assert not broker.capabilities & WITHOUT_STORE


def test_without_a_store_nothing_changes() -> None:
    with closing(connect("amqp://localhost/")) as broker:
        assert broker.capabilities == RabbitmqBroker.capabilities


@pytest.mark.parametrize("store", ["memory://", "amqp://localhost/", "nowhere://", "store.db", ""])
def test_what_cannot_be_a_store_is_refused(store: str) -> None:
    with pytest.raises(ConfigError, match="results is the URL of a store"):
        connect(f"amqp://localhost/?results={store}")


@pytest.mark.parametrize("store", ["sqlite:///s.db?synchronous=never", "sqlite://s.db"])
def test_what_is_wrong_with_a_store_s_url_is_told(store: str) -> None:
    with pytest.raises(ConfigError, match="sqlite"):
        connect(f"amqp://localhost/?results={store}")


@pytest.mark.parametrize(
    "beside", ["redis://:hidden@cache/1?timeout=0s", quote("redis://:hidden@cache/1?timeout=0s", safe="") + "&hold=1m"]
)
def test_no_password_is_shown(beside: str) -> None:
    url = f"amqp://me:hidden@localhost/?results={beside}"
    assert "hidden" not in shown(url)
    for wrong in (url, url.replace("results=", "queues=none&results="), url.replace("redis", "rediz")):
        with pytest.raises(ConfigError) as told:
            connect(wrong)
        assert "hidden" not in str(told.value)
