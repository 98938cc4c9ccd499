"""What the public API would refuse, sent to `longboat serve` by a client that has the key and no scruples."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from longboat.brokers.manager.dispatcher import Dispatcher
from longboat.brokers.memory import MemoryBroker
from longboat.core.job import MESSAGE_VERSION, Failure, Job, Retry, State
from longboat.errors import BrokerError

encode = msgspec.msgpack.encode
NUMBERS = [math.nan, math.inf, -1.0, 1e300]


def refused(server: Dispatcher, verb: str, *said: Any) -> None:
    with pytest.raises(BrokerError, match="does not understand"):
        server.call(verb, encode(said))


def job(**fields: Any) -> list[Any]:
    return list(msgspec.structs.astuple(Job(MESSAGE_VERSION, "one", "t", b"\x80", "q", **fields)))


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers(number: float) -> None:
    store = MemoryBroker()
    server = Dispatcher(store)
    for field in ("keep", "delay", "expires"):
        refused(server, "Broker.put", [job(**{field: number})], None)
    refused(server, "KV.write", "space", [["key", b"", number]])
    refused(server, "Transfer.import_jobs", "name", [["one", b"", "q", 0, False, number]])
    refused(server, "register", ["q"], number, [], "")
    name = msgspec.msgpack.decode(server.call("register", encode((["q"], 60.0, [], ""))))
    refused(server, "receive", name, 1, 1, number)
    refused(server, "tidy", number)
    store.put([Job(MESSAGE_VERSION, "one", "t", b"\x80", "q")])
    ((lease, *_),) = msgspec.msgpack.decode(server.call("receive", encode((name, 1, 1, 0.0))))[0]
    retry = encode(Retry(number, Failure("E", "m")))
    with pytest.raises((BrokerError, ValueError)):
        server.call("settle", encode((name, [[lease, 1, retry]], [])))
    assert store.inspector.counts() == {("q", State.RUNNING): 1}
    server.close()


def test_names_sizes_and_depths() -> None:
    store = MemoryBroker()
    server = Dispatcher(store)
    for field in ("id", "task", "queue"):
        fields = dict(zip(Job.__struct_fields__, job(), strict=True)) | {field: "x" * 500_000}
        refused(server, "Broker.put", [list(fields.values())], None)
    refused(server, "Broker.put", [job(priority=2**40)], None)
    refused(server, "Broker.put", [[*job()[:3], b"x" * 1_000_001]], None)
    refused(server, "Broker.put", [[*job()[:-1], ["", ["a"], [], "", {"x": 5}]]], None)
    with pytest.raises(BrokerError, match="does not understand"):
        server.call("KV.write", b"\x91" * 100_000)
    assert store.inspector.counts() == {}
    server.close()
