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

from longboat.brokers.rabbitmq.broker import DEFAULT_PREFIX, HOLD, RabbitmqBroker
from longboat.contract.broker import Broker
from longboat.core import urls
from longboat.errors import ConfigError


def connect(url: str, options: dict[str, str], store: Broker | None = None) -> RabbitmqBroker:
    """`store`: what `results` names. It is closed with the broker."""
    timeout = urls.duration(url, options, "timeout", "2s")
    hold = urls.duration(url, options, "hold", f"{HOLD:g}s")
    classic = urls.choice(url, options, "queues", "quorum", "classic")
    prefix = options.pop("prefix", DEFAULT_PREFIX)
    if not 0 < len(prefix.encode()) < 64:
        raise ConfigError(f"{urls.shown(url)!r}: prefix must be a name of 1 to 63 bytes, not {prefix!r}")
    management = options.pop("management", None)
    address, where = urls.rest(url, options), urls.where(url)
    try:
        return RabbitmqBroker(
            address,
            prefix=prefix,
            classic=classic,
            timeout=timeout,
            hold=hold,
            where=where,
            store=store,
            management=management,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where!r}: {error}") from None
