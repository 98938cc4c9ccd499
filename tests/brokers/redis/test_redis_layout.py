"""A store says by which layout its keys are made; other layouts than the one known here are refused, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from longboat.brokers.redis.layout import LAYOUT
from longboat.contract.kv import Entry
from longboat.core.clock import SYSTEM
from longboat.core.job import MESSAGE_VERSION, Job, new_id
from longboat.errors import BrokerError, StoreTooNew
from tests.rigs.harnesses import NewRedis, unavailable

WRITES = {
    "put": lambda broker: broker.put([Job(MESSAGE_VERSION, new_id(), "t", b"\x80", "q")]),
    "consumer": lambda broker: broker.consumer(["q"], lease=60.0).close(),
    "write": lambda broker: broker.kv.write("s", [Entry("a", b"1")]),
}


@pytest.fixture
def new(tmp_path: Path) -> NewRedis:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    return NewRedis(tmp_path, SYSTEM)


def numbers(new: NewRedis) -> str:
    return f"{{{new.prefix}}}:numbers"


@pytest.mark.parametrize("write", WRITES)
def test_the_first_write_marks_a_store(write: str, new: NewRedis) -> None:
    broker = new.open()
    broker.inspector.counts()
    assert new.server.command("EXISTS", numbers(new)) == 0, "who only looks writes nothing"
    WRITES[write](broker)
    assert int(new.server.command("HGET", numbers(new), "layout")) == LAYOUT
    again = new.open()
    again.inspector.counts()
    again.close()
    broker.close()


def test_a_store_that_was_emptied_is_marked_again(new: NewRedis) -> None:
    broker = new.open()
    WRITES["put"](broker)
    new.server.command("DEL", numbers(new))
    WRITES["put"](broker)
    assert int(new.server.command("HGET", numbers(new), "layout")) == LAYOUT
    broker.close()


def test_an_older_layout_is_refused(new: NewRedis) -> None:
    """Before layouts had a version, a store had only its numbers."""
    new.server.command("HSET", numbers(new), "place", 7)
    broker = new.open()
    for _ in range(2):
        with pytest.raises(BrokerError, match=r"an older Longboat wrote .* or use another prefix") as caught:
            WRITES["put"](broker)
        assert not isinstance(caught.value, StoreTooNew)
    broker.close()


def test_a_newer_layout_is_refused(new: NewRedis) -> None:
    new.server.command("HSET", numbers(new), "layout", LAYOUT + 1)
    broker = new.open()
    with pytest.raises(StoreTooNew, match="Upgrade Longboat here"):
        broker.inspector.counts()
    assert any("Upgrade Longboat" in finding.advice for finding in broker.diagnose().findings if finding.serious)  # type: ignore[attr-defined]  # what this adapter has of its own
    broker.close()
