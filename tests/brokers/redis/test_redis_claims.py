"""A claim whose jobs could not all be read: nothing that it leased is left with nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from longboat.brokers.redis.consumer import RedisConsumer
from longboat.core.clock import SYSTEM
from longboat.core.job import MESSAGE_VERSION, Job, State, new_id
from longboat.errors import BrokerUnavailable
from tests.rigs.harnesses import NewRedis, unavailable


def test_leases_are_given_again_when_the_line_breaks_before_their_messages_are_read(tmp_path: Path) -> None:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    new = NewRedis(tmp_path, SYSTEM)
    broker = new.open()
    good = Job(MESSAGE_VERSION, new_id(), "t", b"\x80", "q")
    new.inject(b"no message", "q")
    broker.put([good])
    consumer = broker.consumer(["q"], lease=60.0)
    assert isinstance(consumer, RedisConsumer)
    server, whole = consumer._server, consumer._server.command

    def broken(*words: Any) -> Any:
        if words[0] == "HMGET":
            raise BrokerUnavailable("the line broke")
        return whole(*words)

    server.command = broken  # type: ignore[method-assign]  # a line cannot be cut at just this moment
    with pytest.raises(BrokerUnavailable, match="the line broke"):
        consumer.receive(10, wait=0.0)
    server.command = whole  # type: ignore[method-assign]  # what is called is watched
    assert [lease.job for lease in consumer.receive(10, wait=0.0)] == [good]
    assert dict(broker.inspector.counts()) == {("q", State.RUNNING): 1, ("q", State.DEAD): 1}
    consumer.close()
    broker.close()
