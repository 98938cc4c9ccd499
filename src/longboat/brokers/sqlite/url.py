"""sqlite:///queue.db: a file, relative to the working directory; four slashes for an absolute path.

?synchronous=full         durable against power loss too (the default); normal: against killed processes, and faster
?timeout=2s               how long a call may wait for other writers
"""

from __future__ import annotations

from urllib.parse import unquote

from longboat.brokers.sqlite.broker import SqliteBroker
from longboat.core import urls
from longboat.errors import ConfigError


def connect(url: str, options: dict[str, str]) -> SqliteBroker:
    path = unquote(url.partition("://")[2].partition("?")[0])
    if path == "/:memory:":
        raise ConfigError(f"{urls.shown(url)!r}: for a broker inside this process write memory://")
    if not path.startswith("/") or path == "/":
        raise ConfigError(
            f"{urls.shown(url)!r}: write sqlite:///name.db (three slashes, in the working directory) or "
            "sqlite:////full/path.db (four)"
        )
    normal = urls.choice(url, options, "synchronous", "full", "normal")
    timeout = urls.duration(url, options, "timeout", "2s")
    return SqliteBroker(path[1:], synchronous="normal" if normal else "full", timeout=timeout)
