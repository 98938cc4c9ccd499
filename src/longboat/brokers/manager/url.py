"""manager://host:5000: a store that `longboat serve` publishes there; with the key of LONGBOAT_AUTHKEY.

?authkey_file=key         or with the key in this file
?timeout=2s               how long a call may take
"""

from __future__ import annotations

from longboat.brokers.manager.authkey import authkey
from longboat.brokers.manager.broker import ManagerBroker
from longboat.core import urls
from longboat.errors import ConfigError


def connect(url: str, options: dict[str, str]) -> ManagerBroker:
    parts = urls.parts(url)
    host, port = parts.hosts[0] if len(parts.hosts) == 1 else ("", None)
    if not port or parts.path or parts.user is not None or parts.password is not None:
        raise ConfigError(
            f"{urls.shown(url)!r}: write manager://host:5000, and the key in a file (?authkey_file=…) or LONGBOAT_AUTHKEY"
        )
    timeout = urls.duration(url, options, "timeout", "2s")
    path = options.pop("authkey_file", None)
    urls.refuse_others(url, options)  # an ?authkey= is told before a key that is missing
    return ManagerBroker(host, port, authkey=authkey(path), timeout=timeout)
