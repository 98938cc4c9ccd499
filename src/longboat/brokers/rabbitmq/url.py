"""amqp://user:password@host:5672,host:5672/vhost: a RabbitMQ server, or a cluster: the first that answers is used.

amqps:// with TLS; other options are pika's (heartbeat=…).
?ssl_ca=ca.pem            the authority that signed the server's certificate
?ssl_cert=… &ssl_key=…    this client's certificate
?queues=quorum            the type of its queues (the default); or classic
?levels=5                 of priority in each queue: 5 are -2 to 2, and 12 are -2 to 9
?prefix=longboat          what all its names begin with
?timeout=2s               how long a call may take
?hold=10m                 below the server's consumer_timeout
?management=http://host:15672     its management plugin, for the same user, to count the jobs of all queues
?results=redis://…        a store beside it, sqlite, postgresql or redis, for results and all else that messages
                          cannot keep: its URL as the last option, or percent-encoded
"""

from __future__ import annotations

import ssl

from longboat.brokers.rabbitmq.broker import RabbitmqBroker
from longboat.brokers.rabbitmq.carrier import Options, RabbitmqCarrier
from longboat.brokers.rabbitmq.names import LEVELS, MOST_LEVELS
from longboat.core import urls
from longboat.errors import ConfigError


def connect(url: str, options: dict[str, str]) -> RabbitmqBroker:
    """Its carrier is what a store is put beside."""
    made = Options(where=urls.where(url))
    made.timeout = urls.duration(url, options, "timeout", "2s")
    made.hold = urls.duration(url, options, "hold", f"{made.hold:g}s")
    made.classic = urls.choice(url, options, "queues", "quorum", "classic")
    made.levels = _levels(url, options.pop("levels", None))
    made.prefix = options.pop("prefix", made.prefix)
    if not 0 < len(made.prefix.encode()) < 64:
        raise ConfigError(f"{urls.shown(url)!r}: prefix must be a name of 1 to 63 bytes, not {made.prefix!r}")
    made.management = options.pop("management", None)
    if "/" in url.partition("://")[2].partition("?")[0].partition("/")[2]:
        raise ConfigError(f"{made.where!r}: a / within a virtual host is written %2F; without a path it is the host /")
    made.tls = _tls(url, options)
    address = urls.rest(url, options)
    try:
        return RabbitmqBroker(RabbitmqCarrier(address, made))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{made.where!r}: {urls.without_secrets(str(error), url)}") from None


def _levels(url: str, told: str | None) -> int:
    if told is None:
        return LEVELS
    if not told.isascii() or not told.isdigit() or not 1 <= int(told) <= MOST_LEVELS:
        raise ConfigError(f"{urls.shown(url)!r}: levels must be a number from 1 to {MOST_LEVELS}, not {told!r}")
    return int(told)


def _tls(url: str, options: dict[str, str]) -> ssl.SSLContext | None:
    ca, cert, key = (options.pop(name, None) for name in ("ssl_ca", "ssl_cert", "ssl_key"))
    if not (ca or cert or key):
        return None
    if not url.startswith("amqps://"):
        raise ConfigError(f"{urls.shown(url)!r}: options for TLS belong to amqps://")
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key)
    except OSError as error:
        raise ConfigError(f"{urls.shown(url)!r}: a file for TLS cannot be used: {error}") from None
    return context
