"""redis://user:password@host:6379/0: a Redis or Valkey server; rediss:// with TLS; unix:///path/to/socket?db=0.

redis+sentinel://host:26379,host:26379/master/0     the master that Sentinels name
redis+cluster://host:6379,host:6379                 a Cluster; rediss+sentinel:// and rediss+cluster:// with TLS
?ssl_ca=ca.pem            with TLS: the authority that signed the server's certificate
?ssl_cert=… &ssl_key=…    this client's certificate; also ssl_cert_reqs and ssl_check_hostname, as redis-py has them
?sentinel_username=… &sentinel_password=…     for the Sentinels, where they ask for one
?prefix=longboat          what all its keys begin with
?timeout=2s               how long a call may take
"""

from __future__ import annotations

from longboat.brokers.redis.broker import DEFAULT_PREFIX, RedisBroker
from longboat.core import urls
from longboat.errors import ConfigError


def connect(url: str, options: dict[str, str]) -> RedisBroker:
    timeout = urls.duration(url, options, "timeout", "2s")
    prefix = options.pop("prefix", DEFAULT_PREFIX)
    if not prefix or "{" in prefix or "}" in prefix:
        raise ConfigError(f"{urls.shown(url)!r}: prefix must be some text without braces, not {prefix!r}")
    return RedisBroker(url, prefix=prefix, timeout=timeout, options=options, where=urls.where(url))
