"""amqp://user:password@host:5672/vhost: a RabbitMQ server; amqps:// with TLS; other options are pika's (heartbeat=…).

?queues=quorum            the type of its queues (the default); or classic
?prefix=longboat          what all its names begin with
?timeout=2s               how long a call may take
?hold=10m                 below the server's consumer_timeout
?management=http://host:15672     its management plugin, for the same user, to count the jobs of all queues
?results=redis://…        a store beside it, sqlite, postgresql or redis, for results and all else that messages
                          cannot keep: its URL as the last option, or percent-encoded
"""

from __future__ import annotations

from longboat.brokers.rabbitmq.broker import RabbitmqBroker
from longboat.brokers.rabbitmq.carrier import Options, RabbitmqCarrier
from longboat.core import urls
from longboat.errors import ConfigError


def connect(url: str, options: dict[str, str]) -> RabbitmqBroker:
    """Its carrier is what a store is put beside."""
    made = Options(where=urls.where(url))
    made.timeout = urls.duration(url, options, "timeout", "2s")
    made.hold = urls.duration(url, options, "hold", f"{made.hold:g}s")
    made.classic = urls.choice(url, options, "queues", "quorum", "classic")
    made.prefix = options.pop("prefix", made.prefix)
    if not 0 < len(made.prefix.encode()) < 64:
        raise ConfigError(f"{urls.shown(url)!r}: prefix must be a name of 1 to 63 bytes, not {made.prefix!r}")
    made.management = options.pop("management", None)
    address = urls.rest(url, options)
    try:
        return RabbitmqBroker(RabbitmqCarrier(address, made))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{made.where!r}: {error}") from None
