"""Redis URLs: what they mean, and what is said of wrong ones. None of this opens a connection."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import redis

from longboat.brokers.redis import RedisBroker
from longboat.brokers.redis.address import PORT, SENTINEL_PORT, address_of
from longboat.connect import connect
from longboat.errors import ConfigError

WRONG = [
    ("redis://host:port/0", "each host as host"),
    ("redis://host:70000/0", "each host as host"),
    ("redis://host/0?nonsense=1", "unknown option 'nonsense'"),
    ("redis://host/0?ssl_ca=ca.crt", "unknown option 'ssl_ca'"),
    ("redis://host/0?prefix=", "prefix must be some text"),
    ("redis://host/0?prefix=a{b", "without braces"),
    ("redis://host/0?prefix=a}b", "without braces"),
    ("redis://host/0?timeout=0", "timeout must be above 0"),
    ("redis://host/0?timeout=inf", "timeout"),
    ("redis://host/0?timeout=soon", "timeout: 'soon' is not a duration"),
    ("redis+sentinel://host:26379", "master-name"),
    ("redis+sentinel://host:26379/", "master-name"),
    ("redis+sentinel://host:26379/mymaster/first", "master-name/0"),
    ("redis+sentinel:///mymaster", "write redis[+]sentinel://host"),
    ("redis+sentinel://a:b/mymaster", "each host as host"),
    ("redis+cluster://", "write redis[+]cluster://host"),
    ("redis+cluster://a:1,,b:2", "each host as host"),
    ("redis+cluster://a:x,b:2", "each host as host"),
    ("redis+cluster://a:1/3", "one database only"),
]


@pytest.mark.parametrize(("url", "said"), WRONG, ids=[url for url, _ in WRONG])
def test_a_wrong_url_is_refused_where_it_is_read(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        connect(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://user:pass%40word@host:6380/3?prefix=shop&timeout=500ms",
        "rediss://host:6380/0?ssl_ca=ca.crt&ssl_check_hostname=no",
        "unix:///run/redis.sock?db=2",
        "redis+sentinel://a,b:26380/mymaster",
        "redis+sentinel://:secret@a,b/mymaster/2",
        "redis+cluster://a:7000,b:7001/0",
    ],
)
def test_a_right_url_gives_a_broker_that_connects_late(url: str) -> None:
    broker = connect(url)
    assert isinstance(broker, RedisBroker)
    broker.close()


def test_an_error_does_not_tell_the_password() -> None:
    with pytest.raises(ConfigError) as caught:
        connect("redis://me:secret@host/0?nonsense=1")
    assert "secret" not in str(caught.value)
    assert "me:***@host" in str(caught.value)


def arguments(url: str, **options: str) -> dict[str, Any]:
    """What redis-py is told for each connection."""
    told: dict[str, Any] = address_of(url, "{longboat}:", 1.5, options)._pool.connection_kwargs  # type: ignore[attr-defined]  # what this adapter has of its own
    assert not options, "an option was not taken"
    return told


def test_what_the_driver_is_told_of_one_server() -> None:
    told = arguments("redis://user:pass%40word@host:6380/3")
    assert {name: told[name] for name in ("host", "port", "db", "username", "password")} == {
        "host": "host",
        "port": 6380,
        "db": 3,
        "username": "user",
        "password": "pass@word",
    }
    assert (told["socket_timeout"], told["socket_connect_timeout"]) == (1.5, 1.5)


def test_what_the_driver_is_told_of_tls() -> None:
    tls = arguments("rediss://host", ssl_ca="ca.crt", ssl_check_hostname="no")
    assert (tls["ssl_ca_certs"], tls["ssl_check_hostname"]) == ("ca.crt", False)
    assert arguments("rediss://host", ssl_check_hostname="true")["ssl_check_hostname"] is True


def test_what_the_driver_is_told_of_a_socket() -> None:
    told = arguments("unix://:secret@/run/my%20redis.sock")
    assert (told["path"], told["password"]) == ("/run/my redis.sock", "secret")
    assert arguments("unix:///run/redis.sock", db="2")["db"] == 2


def test_what_the_driver_is_told_of_sentinels_and_clusters() -> None:
    tls = {"ssl_ca": "ca.crt"}
    url = "rediss+sentinel://u:p%3A@[::1],b:1/mymaster/2"
    told = address_of(url, "{longboat}:", 1.5, options := {**tls, "sentinel_password": "other"})
    assert not options
    sentinels = told._sentinels.sentinels  # type: ignore[attr-defined]  # its own
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in sentinels]
    assert [(each["host"], each["port"]) for each in asked] == [("::1", SENTINEL_PORT), ("b", 1)]
    assert {(each["password"], each.get("username"), each["ssl_ca_certs"]) for each in asked} == {("other", None, "ca.crt")}
    master = told._pool  # type: ignore[attr-defined]  # its own
    assert {name: master.connection_kwargs[name] for name in ("username", "password", "db", "ssl_ca_certs")} == {
        "username": "u",
        "password": "p:",
        "db": 2,
        "ssl_ca_certs": "ca.crt",
    }
    assert "SSL" in master.connection_class.__name__
    nodes = address_of("rediss+cluster://:p@[::1]:7000,b", "{longboat}:", 1.5, dict(tls))
    assert nodes._hosts == [("::1", 7000), ("b", PORT)]  # type: ignore[attr-defined]  # its own
    assert nodes._kind is redis.SSLConnection  # type: ignore[attr-defined]  # its own


def test_without_the_driver_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from longboat.connect import connect\n"
        "from longboat.errors import MissingExtra\n"
        "try:\n    connect('redis://me:secret@host/0')\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "pip install 'longboat[redis]'" in done.stdout
    assert "secret" not in done.stdout
