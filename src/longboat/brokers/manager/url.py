"""manager://host:5000: a store that `longboat serve` publishes there; with the key of LONGBOAT_AUTHKEY.

?authkey_file=key         or with the key in this file
?timeout=2s               how long a call may take
"""

from __future__ import annotations

from urllib.parse import urlsplit

from longboat.brokers.manager.authkey import authkey
from longboat.brokers.manager.broker import ManagerBroker
from longboat.core import urls
from longboat.errors import ConfigError


def connect(url: str, options: dict[str, str]) -> ManagerBroker:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or not port or parts.path not in ("", "/") or "@" in parts.netloc:
        raise ConfigError(
            f"{urls.shown(url)!r}: write manager://host:5000, and the key in a file (?authkey_file=…) or LONGBOAT_AUTHKEY"
        )
    timeout = urls.duration(url, options, "timeout", "2s")
    key = authkey(options.pop("authkey_file", None))
    return ManagerBroker(parts.hostname, port, authkey=key, timeout=timeout)
