"""URL -> broker. A scheme names its adapter, which reads the rest of the URL; adapters are imported when they are asked for.

Those of Longboat are in BUILT_IN. Others are found by the entry points of installed packages, in the group
`longboat.brokers`: a scheme = a function that is given the URL and its options, and returns a broker.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import cast
from urllib.parse import parse_qsl, quote, unquote

from longboat.contract.broker import Broker
from longboat.contract.carrier import Carries
from longboat.core.urls import check, refuse_others, shown, split, whole
from longboat.errors import ConfigError, MissingExtra

DEFAULT_URL = "sqlite:///longboat.db"
GROUP = "longboat.brokers"

Factory = Callable[..., Broker]
"""Given the URL, and its options by name. It takes out of these what it knows; what is left is refused."""

BUILT_IN = {
    "memory": "longboat.brokers.memory.url:connect",
    "sqlite": "longboat.brokers.sqlite.url:connect",
    "manager": "longboat.brokers.manager.url:connect",
    "postgresql": "longboat.brokers.postgres.url:connect",
    "postgres": "longboat.brokers.postgres.url:connect",
    "redis": "longboat.brokers.redis.url:connect",
    "rediss": "longboat.brokers.redis.url:connect",
    "unix": "longboat.brokers.redis.url:connect",
    "redis+sentinel": "longboat.brokers.redis.url:connect",
    "redis+cluster": "longboat.brokers.redis.url:connect",
    "rediss+sentinel": "longboat.brokers.redis.url:connect",
    "rediss+cluster": "longboat.brokers.redis.url:connect",
    "amqp": "longboat.brokers.rabbitmq.url:connect",
    "amqps": "longboat.brokers.rabbitmq.url:connect",
    "longboat": "longboat.contrib.django.database:connect",
}
"""By scheme. They are entry points too, but found without them: to read those of all packages takes 40 ms."""

ELSEWHERE = {
    "pyamqp": "amqp",
    "librabbitmq": "amqp",
    "rabbitmq": "amqp",
    "sentinel": "redis+sentinel",
    "redis+socket": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
    "psql": "postgresql",
    "pgsql": "postgresql",
    "sqlite3": "sqlite",
}
"""Schemes of other libraries, and ours for the same. What begins as one of ours before a "+", such as postgresql+psycopg, is
told by that.
"""

_PORTS = {"6379": "redis", "5432": "postgresql", "5672": "amqp", "5671": "amqps"}
"""The usual ports of servers."""

CARRIERS = ("amqp", "amqps")
"""What carries messages only: `?results=URL` names a store to keep the rest, and the companion makes one broker of both."""

_EXTRAS = {"psycopg": ("PostgreSQL", "postgres"), "redis": ("Redis", "redis"), "pika": ("RabbitMQ", "rabbitmq")}
"""By the driver's module: what it is for, and the extra that brings it."""


def connect(url: str) -> Broker:
    """The broker that a URL names. Raises ConfigError, saying what is wrong with the URL.

    memory://                     inside this process, gone with it
    sqlite:///queue.db            a file, relative to the working directory; four slashes for an absolute path
    manager://host:5000           a store that `longboat serve` publishes there
    postgresql://user:password@host/database     a PostgreSQL server
    redis://user:password@host:6379/0      a Redis or Valkey server; rediss:// with TLS; unix:///path/to/socket?db=0
    redis+sentinel://host:26379,host:26379/master/0     the master that Sentinels name
    redis+cluster://host:6379,host:6379    a Cluster
    amqp://user:password@host:5672/vhost   a RabbitMQ server; amqps:// with TLS
    longboat://django             what the default database of this process's Django project can keep
    scheme://…                    a broker of another package

    Options follow as ?name=value&…; `url.py` of each adapter lists its own.
    """
    scheme, separator, _ = url.partition("://")
    if separator:
        check(url)
    factory = _factory(scheme, url) if separator else None
    if factory is None:
        meant = _meant(scheme) if separator else _without_scheme(url)
        raise ConfigError(
            f"{shown(url)!r} names no broker known here.{meant} URLs begin with one of {_known()}\n"
            f"Another package can add one: by an entry point of the group {GROUP!r} (docs/brokers.md)."
        )
    first, beside = split(url) if scheme in CARRIERS else (whole(url), None)
    options = dict(parse_qsl(first.partition("?")[2], keep_blank_values=True))
    if scheme in CARRIERS and (beside := options.pop("results", beside)) is not None:
        broker = _with_store(factory, first, options, beside)
    else:
        broker = factory(first, options)
    try:
        refuse_others(url, options)
    except ConfigError:
        broker.close()
        raise
    return broker


def settled(url: str) -> str:
    """The URL with a relative SQLite file made absolute: it names the same file whatever the working directory becomes."""
    beside = split(url)[1]
    if beside is not None:
        return url[: -len(beside)] + settled(beside)
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path or unquote(path).startswith("/"):
        return url
    try:
        return f"{scheme}:///{quote(os.getcwd())}/{path}"
    except FileNotFoundError:  # the directory is gone: whoever opens the file is told
        return url


def _with_store(factory: Factory, url: str, options: dict[str, str], beside: str) -> Broker:
    scheme = beside.partition("://")[0]
    if scheme in ("memory", *CARRIERS) or _factory(scheme, beside) is None:
        raise ConfigError(f"{shown(url)!r}: results is the URL of a store: sqlite, postgresql, redis or manager")
    from longboat.brokers.companion import CompanionBroker

    store = connect(beside)
    try:
        broker = factory(url, options)
    except BaseException:
        store.close()
        raise
    return CompanionBroker(cast(Carries, broker).carrier, store)


def _factory(scheme: str, url: str) -> Factory | None:
    if scheme in BUILT_IN:
        module, _, name = BUILT_IN[scheme].partition(":")
        try:
            factory: Factory = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            driver, extra = _EXTRAS.get((error.name or "").partition(".")[0], ("", ""))
            if not extra:
                raise
            raise MissingExtra(f"{shown(url)!r} needs the driver for {driver}: pip install 'longboat[{extra}]'") from None
        return factory
    from importlib.metadata import entry_points  # not by `import longboat`: it is slow

    for found in entry_points(group=GROUP, name=scheme):
        try:
            factory = found.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{scheme}:// is said to be {found.value}, which cannot be imported: {error}") from error
        return factory
    return None


def _meant(scheme: str) -> str:
    """What to write instead of a scheme that another library has for the same server."""
    first = ELSEWHERE.get(scheme) or (plain if (plain := scheme.partition("+")[0]) in BUILT_IN and plain != scheme else "")
    if first:
        return f" Write {first}:// here."
    from difflib import get_close_matches

    near = get_close_matches(scheme, BUILT_IN, 1)
    return f" Did you mean {near[0]}://?" if near else ""


def _without_scheme(url: str) -> str:
    """What a host and a port are meant for."""
    address = shown(url)
    port = address.partition("/")[0].rpartition(":")[2]
    return f" Did you mean {_PORTS[port]}://{address}?" if port in _PORTS else ""


def _known() -> str:
    from importlib.metadata import entry_points

    schemes = [*BUILT_IN, *sorted(entry_points(group=GROUP).names - BUILT_IN.keys())]
    return ", ".join(f"{scheme}://" for scheme in schemes)
