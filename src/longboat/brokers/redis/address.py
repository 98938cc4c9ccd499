"""Where the server is: a single server, a Unix socket, TLS, the master that Sentinels name, or the node of a Cluster."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import redis
import redis.sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from longboat.core.clock import SYSTEM
from longboat.errors import ConfigError

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
"""Options of a rediss:// URL, as redis-py names them."""
CLUSTER_PORT, SENTINEL_PORT = 6379, 26379


class Address(Protocol):
    """Makes connections to the server that is the right one at present."""

    def connection(self) -> Any:
        """A new connection of redis-py, connected."""
        ...

    def look_again(self) -> None:
        """The right server may be another one by now."""
        ...


def address_of(url: str, tag: str, timeout: float, options: dict[str, str]) -> Address:
    """The address in a URL. Removes the options that it knows. Raises ConfigError."""
    parts = urlsplit(url)
    common: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if parts.scheme == "unix":
        del common["socket_keepalive"]
    if parts.scheme == "rediss":
        common.update({name: options.pop(name) for name in TLS_OPTIONS if name in options})
        if common.get("ssl_check_hostname") is not None:
            common["ssl_check_hostname"] = common["ssl_check_hostname"].lower() in ("1", "true", "yes")
    try:
        if parts.scheme == "redis+sentinel":
            return _Sentinels(parts.netloc, parts.path, common)
        if parts.scheme == "redis+cluster":
            return _Cluster(parts.netloc, parts.path, tag, common)
        if parts.scheme == "unix" and "db" in options:
            common["db"] = int(options.pop("db"))
        return _Single(redis.ConnectionPool.from_url(url.partition("?")[0], **common))
    except ValueError as error:
        raise ConfigError(f"{parts.scheme}://…: {error}") from None


class _Single:
    def __init__(self, pool: Any) -> None:
        # A pool of redis-py knows how to make connections; `Server` keeps the free ones.
        self._pool = pool

    def connection(self) -> Any:
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.connect()
        return connection

    def look_again(self) -> None:
        pass


class _Sentinels(_Single):
    def __init__(self, netloc: str, path: str, common: dict[str, Any]) -> None:
        credentials, hosts = _hosts(netloc, SENTINEL_PORT)
        service, _, db = path.strip("/").partition("/")
        if not service or (db and not db.isdigit()):
            raise ConfigError("redis+sentinel://…: write redis+sentinel://host:port,host:port/master-name/db")
        quick = {**common, "socket_timeout": 0.5, "socket_connect_timeout": 0.5}  # another Sentinel may know
        self._sentinels: Any = _untyped(redis.sentinel.Sentinel)(hosts, sentinel_kwargs=quick)
        super().__init__(self._sentinels.master_for(service, db=int(db or 0), **credentials, **common).connection_pool)


class _Cluster:
    def __init__(self, netloc: str, path: str, tag: str, common: dict[str, Any]) -> None:
        credentials, self._hosts = _hosts(netloc, CLUSTER_PORT)
        if path.strip("/") not in ("", "0"):
            raise ConfigError("redis+cluster://…: a Cluster has one database only, write no number behind the hosts")
        self._slot = key_slot(tag.encode())
        self._common = {**credentials, **common}
        self._timeout: float = common["socket_timeout"]
        self._known = self._hosts
        """Nodes to ask, the one that answered last first."""
        self._owner: tuple[str, int] | None = None

    def connection(self) -> Any:
        until = SYSTEM.monotonic() + self._timeout
        owner = self._owner or self._find(until)
        self._owner = owner
        # The time that silent nodes took is subtracted, so that the whole stays within the limit.
        return self._connected(owner, max(0.6 * self._timeout, until - SYSTEM.monotonic()))

    def look_again(self) -> None:
        self._owner = None

    def _find(self, until: float) -> tuple[str, int]:
        """The node that has the slot, according to the first node that answers."""
        failed: Exception = redis.ConnectionError("no node answered")
        for asked in self._known:
            if SYSTEM.monotonic() > until - 0.5 * self._timeout:
                break
            try:
                connection = self._connected(asked, self._timeout / 4)
                try:
                    connection.send_command("CLUSTER", "SLOTS")
                    ranges = connection.read_response()
                finally:
                    connection.disconnect()
            except redis.AuthenticationError:
                raise
            except (redis.RedisError, OSError) as error:
                failed = error
                continue
            nodes = {(bytes(host or b"").decode() or asked[0], port) for _, _, *its in ranges for host, port, *_ in its}
            self._known = list(dict.fromkeys([asked, *nodes, *self._hosts]))
            for first, last, (host, port, *_), *_ in ranges:
                if first <= self._slot <= last:
                    return bytes(host or b"").decode() or asked[0], port
            failed = redis.ConnectionError("no node of the cluster has the store's slot")
        raise failed

    def _connected(self, node: tuple[str, int], timeout: float) -> Any:
        limits = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        connection: Any = _untyped(redis.Connection)(host=node[0], port=node[1], **{**self._common, **limits})
        connection.connect()
        return connection


def _untyped(kind: Any) -> Any:
    """Some versions of redis-py have types for this, others have none."""
    return kind


def _hosts(netloc: str, port: int) -> tuple[dict[str, str], list[tuple[str, int]]]:
    """The credentials and the hosts of "user:password@host:port,host:port"."""
    credentials: dict[str, str] = {}
    secret, _, names = netloc.rpartition("@")
    if secret:
        user, _, password = secret.partition(":")
        credentials = {"username": unquote(user), "password": unquote(password)} if user else {"password": unquote(password)}
    hosts = []
    for name in names.split(","):
        host, separator, number = name.rpartition(":")
        if separator and not number.isdigit():
            raise ConfigError(f"{name!r} is no host:port")
        hosts.append((host, int(number)) if separator else (name, port))
    if not all(host for host, _ in hosts):
        raise ConfigError("name at least one host:port")
    return credentials, hosts
