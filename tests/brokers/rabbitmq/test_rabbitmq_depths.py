"""What is counted as what, of what the management plugin tells; and how the plugin is named."""

from __future__ import annotations

import pytest

from longboat.brokers.rabbitmq.management import MANY, Depth, Depths, queue_of
from longboat.brokers.rabbitmq.names import Names, address
from longboat.connect import connect
from longboat.core.job import State
from longboat.core.urls import shown
from longboat.errors import ConfigError

NAMES = Names("p")


def test_each_queue_of_the_server_counts_as_what_it_holds() -> None:
    depths = [
        Depth("p.q.2", 1, 2),
        Depth("p.q.0", 4, 3),
        Depth("p.q.0.fence"),
        Depth("p.held.x.0", 0, 5),
        Depth("p.0123.held", 1, 6),
        Depth("p.q.dead", 7, 1),
        Depth("p.0.delay", 8, 1),
        Depth("p.12.delay", 10, 0),
        Depth("p.other.0", 100, 100),
    ]
    seen = Depths({"q", "held.x", "idle"}, {each.name: each for each in depths})
    assert seen.counts(NAMES) == {
        ("q", State.RUNNING): 5,
        ("held.x", State.RUNNING): 5,
        (MANY, State.RUNNING): 7,
        (MANY, State.SCHEDULED): 19,
    }
    assert Depths(set(), {}).counts(NAMES) == {}


@pytest.mark.parametrize("name", ["q", "a.b", "ü #*%/", "dead.x", "*"])
def test_the_queue_is_read_from_what_leads_to_it(name: str) -> None:
    assert queue_of(f"#.{address(name, -2)}") == name


@pytest.mark.parametrize(
    "where", ["host:15672", "ftp://host", "http://", "http://me:hidden@host:1", "http://host:x", "http://host?a=1", ""]
)
def test_what_is_no_address_of_a_plugin_is_refused(where: str) -> None:
    with pytest.raises(ConfigError) as told:
        connect(f"amqp://localhost/?management={where}")
    assert "hidden" not in str(told.value)


def test_no_password_is_shown() -> None:
    url = "amqp://localhost/?management=http://me:hidden@host:1"
    for each in (url, f"{url}&results=redis://cache", url.replace(":hidden@", "%3Ahidden%40")):
        assert "hidden" not in shown(each)
    plain = "amqp://localhost/?management=http://host:1"
    assert shown(plain) == plain


def test_nothing_is_asked_before_something_is_counted() -> None:
    connect("amqp://localhost/?management=https://host/rabbit&prefix=p").close()
