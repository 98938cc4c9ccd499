"""memory://: a broker inside this process. It takes no options."""

from __future__ import annotations

from urllib.parse import urlsplit

from longboat.brokers.memory.broker import MemoryBroker
from longboat.errors import ConfigError


def connect(url: str, _options: dict[str, str]) -> MemoryBroker:
    if urlsplit(url).netloc or urlsplit(url).path:
        raise ConfigError(f"{url!r}: memory:// takes no address")
    return MemoryBroker()
