"""URL -> broker: the only file that names adapters. It imports them when they are asked for."""

from __future__ import annotations

import math
import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from longboat.contract.broker import Broker
from longboat.core.clock import seconds
from longboat.errors import ConfigError, MissingExtra

DEFAULT_URL = "sqlite:///longboat.db"
REDIS = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
POSTGRES = ("postgresql", "postgres")
RABBITMQ = ("amqp", "amqps")
SCHEMES = ("memory", "sqlite", "manager", *POSTGRES, *REDIS, *RABBITMQ)


def connect(url: str) -> Broker:
    """The broker that a URL names. Raises ConfigError, saying what is wrong with the URL.

    memory://                     inside this process, gone with it
    sqlite:///queue.db            a file, relative to the working directory; four slashes for an absolute path
        ?synchronous=full         durable against power loss too (the default); normal: against killed processes, and faster
        ?timeout=2s               how long a call may wait for other writers
    manager://host:5000           a store that `longboat serve` publishes there; with the key of LONGBOAT_AUTHKEY
        ?authkey_file=key         or with the key in this file
        ?timeout=2s               how long a call may take
    postgresql://user:password@host/database     a PostgreSQL server; other options are libpq's (sslmode=…)
        ?schema=longboat          where its tables are
        ?timeout=2s               how long a call may take
        ?pgbouncer=1              keep no state in a session
    redis://user:password@host:6379/0      a Redis or Valkey server; rediss:// with TLS; unix:///path/to/socket?db=0
    redis+sentinel://host:26379,host:26379/master/0     the master that Sentinels name
    redis+cluster://host:6379,host:6379    a Cluster
        ?prefix=longboat          what all its keys begin with
        ?timeout=2s               how long a call may take
    amqp://user:password@host:5672/vhost   a RabbitMQ server; amqps:// with TLS; other options are pika's (heartbeat=…)
        ?queues=quorum            the type of its queues (the default); or classic
        ?prefix=longboat          what all its names begin with
        ?timeout=2s               how long a call may take
        ?hold=10m                 below the server's consumer_timeout
        ?management=http://host:15672     its management plugin, for the same user, to count the jobs of all queues
        ?results=redis://…        a store beside it, sqlite, postgresql or redis, for results and all else that messages
                                  cannot keep: its URL as the last option, or percent-encoded
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ConfigError(f"{shown(url)!r} names no broker known here. URLs begin with one of {known}")
    url, beside = _split(url) if scheme in RABBITMQ else (url, None)
    try:
        options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    except ValueError as error:
        raise ConfigError(f"{shown(url)!r} is no URL: {error}") from None
    if beside is not None:
        options["results"] = beside
    broker = _made(scheme, url, options)
    if options:
        raise ConfigError(f"{shown(url)!r}: unknown option {min(options)!r}")
    return broker


def _split(url: str) -> tuple[str, str | None]:
    """The URL without its last option, and that, if it is the URL of a store as it is: with options of its own."""
    found = re.search(r"[?&]results=(?=[a-z+]+://)", url)
    return (url[: found.start()], url[found.end() :]) if found else (url, None)


def _made(scheme: str, url: str, options: dict[str, str]) -> Broker:
    if scheme == "memory":
        return _memory(url)
    if scheme == "sqlite":
        return _sqlite(url, options)
    if scheme == "manager":
        return _manager(url, options)
    if scheme in POSTGRES:
        return _postgres(url, options)
    if scheme in RABBITMQ:
        return _rabbitmq(url, options)
    return _redis(url, options)


def shown(url: str) -> str:
    """The URL with its password masked, for messages."""
    first, beside = _split(url)
    if beside is not None:
        return f"{shown(first)}{url[len(first) : -len(beside)]}{shown(beside)}"
    if "results=" in url or re.search("[?&]management=[^&]*(@|%40)", url):
        return f"{shown(url.partition('?')[0])}?…"  # what stands there may hold a password
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"  # where its password lies cannot be told
    return url.replace(f":{parts.password}@", ":***@", 1) if parts.password else url


def _memory(url: str) -> Broker:
    from longboat.brokers.memory import MemoryBroker

    if urlsplit(url).netloc or urlsplit(url).path:
        raise ConfigError(f"{url!r}: memory:// takes no address")
    return MemoryBroker()


def _sqlite(url: str, options: dict[str, str]) -> Broker:
    from longboat.brokers.sqlite import SqliteBroker

    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc or len(path) < 2:
        raise ConfigError(
            f"{url!r}: write sqlite:///name.db (three slashes, in the working directory) or sqlite:////full/path.db (four)"
        )
    synchronous = options.pop("synchronous", "full")
    if synchronous not in ("full", "normal"):
        raise ConfigError(f"{url!r}: synchronous is 'full' or 'normal', not {synchronous!r}")
    timeout = seconds(options.pop("timeout", "2s"), "timeout")
    if not 0 < timeout < math.inf:
        raise ConfigError(f"{url!r}: timeout must be above 0")
    return SqliteBroker(path[1:], synchronous="normal" if synchronous == "normal" else "full", timeout=timeout)


def _manager(url: str, options: dict[str, str]) -> Broker:
    from longboat.brokers.manager import ManagerBroker
    from longboat.brokers.manager.authkey import authkey

    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or not port or parts.path not in ("", "/") or "@" in parts.netloc:
        raise ConfigError(
            f"{shown(url)!r}: write manager://host:5000, and the key in a file (?authkey_file=…) or LONGBOAT_AUTHKEY"
        )
    timeout = seconds(options.pop("timeout", "2s"), "timeout")
    if not 0 < timeout < math.inf:
        raise ConfigError(f"{shown(url)!r}: timeout must be above 0")
    key = authkey(options.pop("authkey_file", None))
    return ManagerBroker(parts.hostname, port, authkey=key, timeout=timeout)


def _postgres(url: str, options: dict[str, str]) -> Broker:
    try:
        from longboat.brokers.postgres import PostgresBroker
        from longboat.brokers.postgres.broker import DEFAULT_SCHEMA
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise MissingExtra(f"{shown(url)!r} needs the driver for PostgreSQL: pip install 'longboat[postgres]'") from None
    timeout = seconds(options.pop("timeout", "2s"), "timeout")
    if not 0 < timeout < math.inf:
        raise ConfigError(f"{shown(url)!r}: timeout must be above 0")
    schema = options.pop("schema", DEFAULT_SCHEMA)
    if not 0 < len(schema) < 64 or schema.startswith("pg_") or "%" in schema or not schema.isprintable():
        raise ConfigError(f"{shown(url)!r}: schema must be a name of 1 to 63 characters without %, not {schema!r}")
    pgbouncer = options.pop("pgbouncer", "0")
    if pgbouncer not in ("0", "1"):
        raise ConfigError(f"{shown(url)!r}: pgbouncer is 0 or 1, not {pgbouncer!r}")
    address = urlunsplit(urlsplit(url)._replace(query=urlencode(options, quote_via=quote)))
    options.clear()  # the rest is for libpq to judge
    where = shown(url.partition("?")[0])
    try:
        PostgresBroker.check(address)
    except ValueError as error:
        raise ConfigError(f"{where!r}: {error}") from None
    return PostgresBroker(address, schema=schema, timeout=timeout, pgbouncer=pgbouncer == "1", where=where)


def _redis(url: str, options: dict[str, str]) -> Broker:
    try:
        from longboat.brokers.redis import RedisBroker
        from longboat.brokers.redis.broker import DEFAULT_PREFIX
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "redis":
            raise
        raise MissingExtra(f"{shown(url)!r} needs the driver for Redis: pip install 'longboat[redis]'") from None
    timeout = seconds(options.pop("timeout", "2s"), "timeout")
    if not 0 < timeout < math.inf:
        raise ConfigError(f"{shown(url)!r}: timeout must be above 0")
    prefix = options.pop("prefix", DEFAULT_PREFIX)
    if not prefix or "{" in prefix or "}" in prefix:
        raise ConfigError(f"{shown(url)!r}: prefix must be some text without braces, not {prefix!r}")
    return RedisBroker(url, prefix=prefix, timeout=timeout, options=options, where=shown(url.partition("?")[0]))


def _rabbitmq(url: str, options: dict[str, str]) -> Broker:
    beside = options.pop("results", None)
    store = None if beside is None else _store(url, beside)
    try:
        return _rabbitmq_with(url, options, store)
    except BaseException:
        if store is not None:
            store.close()
        raise


def _store(url: str, beside: str) -> Broker:
    scheme = beside.partition("://")[0]
    if scheme not in ("sqlite", "manager", *POSTGRES, *REDIS):
        raise ConfigError(f"{shown(url)!r}: results is the URL of a store: sqlite, postgresql, redis or manager")
    return connect(beside)


def _rabbitmq_with(url: str, options: dict[str, str], store: Broker | None) -> Broker:
    try:
        from longboat.brokers.rabbitmq import RabbitmqBroker
        from longboat.brokers.rabbitmq.broker import DEFAULT_PREFIX, HOLD
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pika":
            raise
        raise MissingExtra(f"{shown(url)!r} needs the driver for RabbitMQ: pip install 'longboat[rabbitmq]'") from None
    timeout = seconds(options.pop("timeout", "2s"), "timeout")
    hold = seconds(options.pop("hold", f"{HOLD:g}s"), "hold")
    if not (0 < timeout < math.inf and 0 < hold < math.inf):
        raise ConfigError(f"{shown(url)!r}: timeout and hold must be above 0")
    queues = options.pop("queues", "quorum")
    if queues not in ("quorum", "classic"):
        raise ConfigError(f"{shown(url)!r}: queues is 'quorum' or 'classic', not {queues!r}")
    prefix = options.pop("prefix", DEFAULT_PREFIX)
    if not 0 < len(prefix.encode()) < 64:
        raise ConfigError(f"{shown(url)!r}: prefix must be a name of 1 to 63 bytes, not {prefix!r}")
    management = options.pop("management", None)
    address = urlunsplit(urlsplit(url)._replace(query=urlencode(options, quote_via=quote)))
    options.clear()  # the rest is for pika to judge
    where = shown(url.partition("?")[0])
    try:
        return RabbitmqBroker(
            address,
            prefix=prefix,
            classic=queues == "classic",
            timeout=timeout,
            hold=hold,
            where=where,
            store=store,
            management=management,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where!r}: {error}") from None
