"""A call that was sent on a connection that turns out to be dead, and what is told when the second try fails too."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis import exceptions

from longboat.brokers.redis.address import Address
from longboat.brokers.redis.server import Server
from longboat.errors import BrokerFull, BrokerUnavailable


class Connection:
    def disconnect(self) -> None: ...


class Nowhere:
    """An address whose connections are not connected."""

    def connection(self) -> Connection:
        return Connection()

    def look_again(self) -> None: ...


LOST = exceptions.ConnectionError("gone")
"""The server may have done it."""
REPLICA = exceptions.ReadOnlyError("READONLY a replica now")
"""It has not."""


@pytest.mark.parametrize(
    ("first", "second", "told", "unknown"),
    [
        (LOST, exceptions.BusyLoadingError("LOADING"), BrokerUnavailable, True),
        (LOST, exceptions.ReadOnlyError("READONLY"), BrokerUnavailable, True),
        (LOST, exceptions.OutOfMemoryError("OOM"), BrokerUnavailable, True),
        (REPLICA, exceptions.ReadOnlyError("READONLY"), BrokerUnavailable, False),
        (REPLICA, exceptions.OutOfMemoryError("OOM"), BrokerFull, False),
        (REPLICA, exceptions.TimeoutError("late"), BrokerUnavailable, True),
    ],
)
def test_what_the_second_try_says_does_not_hide_that_the_first_was_sent(
    first: Exception, second: Exception, told: type[Exception], unknown: bool
) -> None:
    server = Server(cast("Address", Nowhere()), "redis at nowhere", "p:", None, 5.0)
    server._idle.append(Connection())
    errors = [second, first]

    def use(_: Any) -> None:
        raise errors.pop()

    with pytest.raises(told) as caught:
        server._any(use, again=True)
    assert type(caught.value) is told
    assert getattr(caught.value, "unknown", False) is unknown
