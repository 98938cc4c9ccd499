"""Where the server is: a single server, a Unix socket, TLS, the master that Sentinels name, or the node of a Cluster."""

from __future__ import annotations

from typing import Any, Protocol

import redis
import redis.sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from longboat.core import urls
from longboat.core.clock import SYSTEM
from longboat.core.urls import Parts
from longboat.errors import ConfigError

TLS = {
    "ssl_ca": "ssl_ca_certs",
    "ssl_cert": "ssl_certfile",
    "ssl_key": "ssl_keyfile",
    "ssl_cert_reqs": "ssl_cert_reqs",
    "ssl_check_hostname": "ssl_check_hostname",
}
"""Options of URLs with TLS, and redis-py's names for them."""
PORT, SENTINEL_PORT = 6379, 26379


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
    scheme, parts = url.partition("://")[0], urls.parts(url)
    if parts.user and parts.password is None:
        raise ConfigError(f"{urls.shown(url)!r}: write user:password@host, or :password@host where there is no user")
    common: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **_login(parts.user, parts.password),
    }
    if scheme == "unix":
        common["db"] = _database(url, options.pop("db", ""))
        return _Single(_untyped(redis.ConnectionPool)(redis.UnixDomainSocketConnection, path=f"/{parts.path}", **common))
    common["socket_keepalive"] = True
    if scheme.startswith("rediss"):
        common.update({theirs: options.pop(ours) for ours, theirs in TLS.items() if ours in options}, ssl=True)
        if common.get("ssl_check_hostname") is not None:
            common["ssl_check_hostname"] = common["ssl_check_hostname"].lower() in ("1", "true", "yes")
    if scheme.endswith("+sentinel"):
        return _Sentinels(url, parts, common, options)
    if scheme.endswith("+cluster"):
        return _Cluster(url, parts, tag, common)
    if len(parts.hosts) > 1:
        raise ConfigError(f"{urls.shown(url)!r}: several hosts are redis+sentinel:// or redis+cluster://")
    host, port = parts.hosts[0] if parts.hosts else ("localhost", None)
    kind = redis.SSLConnection if common.pop("ssl", False) else redis.Connection
    common["db"] = _database(url, parts.path)
    return _Single(redis.ConnectionPool(kind, host=host, port=port or PORT, **common))


def _login(user: str | None, password: str | None) -> dict[str, str]:
    return {name: value for name, value in (("username", user), ("password", password)) if value is not None}


def _database(url: str, text: str) -> int:
    if text and not text.isdecimal():
        raise ConfigError(f"{urls.shown(url)!r}: {text!r} is not the number of a database, such as 0")
    return int(text or 0)


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
    def __init__(self, url: str, parts: Parts, common: dict[str, Any], options: dict[str, str]) -> None:
        service, slash, db = parts.path.partition("/")
        if not parts.hosts or not service or (slash and not db.isdecimal()):
            raise ConfigError(f"{urls.shown(url)!r}: write redis+sentinel://host:port,host:port/master-name/0")
        quick = {**common, "socket_timeout": 0.5, "socket_connect_timeout": 0.5}  # another Sentinel may know
        for name in ("username", "password"):
            quick.pop(name, None)
            if f"sentinel_{name}" in options:
                quick[name] = options.pop(f"sentinel_{name}")
        hosts = [(host, port or SENTINEL_PORT) for host, port in parts.hosts]
        self._sentinels: Any = _untyped(redis.sentinel.Sentinel)(hosts, sentinel_kwargs=quick)
        super().__init__(self._sentinels.master_for(service, db=int(db or 0), **common).connection_pool)


class _Cluster:
    def __init__(self, url: str, parts: Parts, tag: str, common: dict[str, Any]) -> None:
        self._hosts = [(host, port or PORT) for host, port in parts.hosts]
        if not self._hosts:
            raise ConfigError(f"{urls.shown(url)!r}: write redis+cluster://host:port,host:port")
        if parts.path not in ("", "0"):
            raise ConfigError(f"{urls.shown(url)!r}: a Cluster has one database only, write no number behind the hosts")
        self._slot = key_slot(tag.encode())
        self._kind = redis.SSLConnection if common.pop("ssl", False) else redis.Connection
        self._common = common
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
        connection: Any = _untyped(self._kind)(host=node[0], port=node[1], **{**self._common, **limits})
        connection.connect()
        return connection


def _untyped(kind: Any) -> Any:
    """Some versions of redis-py have types for this, others have none."""
    return kind
