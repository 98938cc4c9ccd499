"""Where the server is: one server, a unix socket, TLS, the master that Sentinels name, or the node of a Cluster."""

from __future__ import annotations

import threading
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import redis
import redis.cluster
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from longboat.errors import ConfigError

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
"""What a rediss:// URL may say, in the words of redis-py."""
CLUSTER_PORT, SENTINEL_PORT = 6379, 26379


class Address(Protocol):
    """Makes connections to whoever is the right server at present."""

    def connection(self) -> Any:
        """A new connection of redis-py, connected."""
        ...

    def look_again(self) -> None:
        """The server may be another by now."""
        ...

    def after_fork(self) -> None:
        """In the child: what was open is the parent's, and a lock may be held by a thread that is not here."""
        ...


def address_of(url: str, tag: str, timeout: float, options: dict[str, str]) -> Address:
    """The address in a URL. Takes what it knows out of `options`. Raises ConfigError."""
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
        # A pool of redis-py knows how to make connections; which of them are free is known to `Server`.
        self._pool = pool

    def connection(self) -> Any:
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.connect()
        return connection

    def look_again(self) -> None:
        pass

    def after_fork(self) -> None:
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
        self._credentials, self._hosts = _hosts(netloc, CLUSTER_PORT)
        if path.strip("/") not in ("", "0"):
            raise ConfigError("redis+cluster://…: a Cluster has one database only, write no number behind the hosts")
        self._tag = tag
        self._common = common
        self._lock = threading.Lock()
        self._cluster: Any = None

    def connection(self) -> Any:
        with self._lock:
            if self._cluster is None:
                nodes = [_untyped(redis.cluster.ClusterNode)(host, port) for host, port in self._hosts]
                options = {"require_full_coverage": False, **self._credentials, **self._common}
                self._cluster = _untyped(redis.cluster.RedisCluster)(startup_nodes=nodes, **options)
            node = self._cluster.get_node_from_key(self._tag)
            if node is None:
                raise redis.ConnectionError("no node of the cluster has the queue's slot")
            pool = self._cluster.get_redis_connection(node).connection_pool
        return _Single(pool).connection()

    def look_again(self) -> None:
        with self._lock:
            cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._cluster = None


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
