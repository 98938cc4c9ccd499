"""URLs: taken apart, and shown without what is secret in them."""

from __future__ import annotations

import logging
import pickle
import traceback

import pytest

from longboat import Longboat
from longboat.connect import connect
from longboat.core import codec
from longboat.core.urls import Parts, Url, check, parts, shown
from longboat.errors import ConfigError

SECRET = "hunter2"
SECRETS = {
    f"redis://me:{SECRET}@host:6379/0": "redis://me:***@host:6379/0",
    f"redis://:{SECRET}@host": "redis://:***@host",
    f"redis://{SECRET}@host": "redis://***@host",
    f"redis://:{SECRET}/host": "redis://:***/host",
    f"redis://me:{SECRET}": "redis://me:***",
    f"redis://me:{SECRET}@:x@host": "redis://me:***@host",
    f"redis://me:a/{SECRET}@host/0": "redis://me:***@host/0",
    f"redis://me:a?{SECRET}@host/0": "redis://me:***@host/0",
    f"redis://me:a?b={SECRET}@host/0": "redis://***",
    f"redis://me:a#{SECRET}@host/0": "redis://me:***@host/0",
    f"redis://me:[{SECRET}@host/0": "redis://me:***@host/0",
    f"redis://me:{SECRET}%@host/0": "redis://me:***@host/0",
    f"postgresql://host/db?password={SECRET}&schema=a": "postgresql://host/db?password=***&schema=a",
    f"postgresql://host/db?sslpassword={SECRET}": "postgresql://host/db?sslpassword=***",
    f"postgresql:///db?host=/run/x&pasword={SECRET}": "postgresql:///db?host=/run/x&pasword=***",
    f"redis+sentinel://a,b/m?sentinel_password={SECRET}": "redis+sentinel://a,b/m?sentinel_password=***",
    f"redis+cluster://me:{SECRET}@[::1]:7000,b:7001": "redis+cluster://me:***@[::1]:7000,b:7001",
    f"unix://:{SECRET}@/run/redis.sock?db=1": "unix://:***@/run/redis.sock?db=1",
    f"amqp://me:{SECRET}@h1,h2:5673/%2F?management=http://u:{SECRET}@h": "amqp://me:***@h1,h2:5673/%2F?management=http://u:***@h",
    f"amqp://h/?levels=5&management=http%3A%2F%2Fu%3A{SECRET}%40h": "amqp://h/?levels=5&management=http://u:***@h",
    f"amqp://me:{SECRET}@h/?results=redis://:{SECRET}@s/0?prefix=x": "amqp://me:***@h/?results=redis://:***@s/0?prefix=x",
    f"amqp://h/?results=redis%3A%2F%2F%3A{SECRET}%40s": "amqp://h/?results=redis://:***@s",
    f"nobody://me:{SECRET}@host?key={SECRET}": "nobody://me:***@host?key=***",
    f"me:{SECRET}@host": "***@host",
}
PLAIN = [
    "sqlite:///queue.db?timeout=5s",
    "sqlite:////home/me@work/queue.db",
    "memory://",
    "redis://localhost:6379/0?prefix=shop",
    "rediss://[::1]:6380/0?ssl_ca=/etc/ca.pem",
    "redis+cluster://[::1]:7000,host:7001",
    "manager://host:5000?authkey_file=key",
    "postgresql:///db?host=/run/postgresql",
    "amqp://h1,h2:5673/vhost",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_is_not_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert shown(url) == SECRETS[url]
    made = Url(url)
    logging.getLogger("x").warning("%s %r %s", made, made, (made,))
    logging.getLogger("x").warning(f"{made} {made!r} {made:>200}")  # that is what is tried
    assert SECRET not in caplog.text
    assert "".join(made) == url == pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("url", SECRETS)
def test_no_error_about_a_url_shows_its_secret(url: str) -> None:
    app = Longboat(url + ("&" if "?" in url else "?") + "no_such_option=1")
    with pytest.raises(Exception) as raised:  # noqa: PT011  # whichever: what is tried is what it shows
        app.broker.inspector.counts()
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert SECRET not in f"{app} {app.url}"
    app.close()


@pytest.mark.parametrize("url", PLAIN)
def test_what_is_no_secret_is_shown(url: str) -> None:
    assert shown(url) == url
    check(url)


@pytest.mark.parametrize("character", "/?#[]%")
def test_a_character_that_must_be_escaped_is_found(character: str) -> None:
    for scheme in ("redis", "amqp", "postgresql", "redis+sentinel"):
        with pytest.raises(ConfigError, match="%2F") as raised:
            connect(f"{scheme}://me:{SECRET}{character}{SECRET}@host/0")
        assert SECRET not in str(raised.value)
        assert "me:***@host/0" in str(raised.value)


def test_parts() -> None:
    assert parts("redis://u:p%40:q@a:1,[::1]:2,c/0/x?db=1") == Parts("u", "p@:q", [("a", 1), ("::1", 2), ("c", None)], "0/x")
    assert parts("redis:///x") == Parts(None, None, [], "x")
    assert parts("redis://:p@h") == Parts(None, "p", [("h", None)], "")
    for wrong in ("redis://a:b", "redis://a:1:2", "redis://[::1", "redis://a:99999", "redis://a,,b", "redis://::1"):
        with pytest.raises(ConfigError, match="host:port"):
            parts(wrong)


MEANT = [
    ("pyamqp://guest@host//", "amqp://"),
    ("amqp://guest:x@host//", "%2F"),
    ("amqp://host/a/b", "%2F"),
    ("postgresql+psycopg://host/db", "postgresql://"),
    ("sqlite+aiosqlite:///x.db", "sqlite://"),
    ("redis+socket:///run/redis.sock", "unix://"),
    ("sentinel://host:26379", "redis[+]sentinel://"),
    ("redis://host/prod", "number of a database"),
    ("redis://host/0/1", "number of a database"),
    ("unix:///run/redis.sock?db=one", "number of a database"),
    ("sqlite:///:memory:", "memory://"),
    ("sqlite:////x#y", "%23"),
    ("sqlite://queue.db", "three slashes"),
    ("redis://ho st/0", "%20"),
]


@pytest.mark.parametrize(("url", "said"), MEANT)
def test_what_others_write_is_told_what_to_write_here(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        connect(url)


def test_an_argument_is_the_whole_url() -> None:
    assert codec.decode(codec.encode({"url": Url("redis://:hunter2@host")})) == {"url": "redis://:hunter2@host"}
