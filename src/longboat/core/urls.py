"""URLs of brokers: read for their adapters, and shown without what is secret in them."""

from __future__ import annotations

import ipaddress
import math
import re
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from longboat.core.clock import seconds
from longboat.errors import ConfigError


def split(url: str) -> tuple[str, str | None]:
    """The URL without its last option `results`, and that, if it is the URL of a store with options of its own."""
    found = re.search(r"[?&]results=(?=[a-z+]+://)", url)
    return (url[: found.start()], url[found.end() :]) if found else (url, None)


def shown(url: str) -> str:
    """The URL with its password masked, for messages."""
    first, beside = split(url)
    if beside is not None:
        return f"{shown(first)}{url[len(first) : -len(beside)]}{shown(beside)}"
    if "results=" in url or re.search("[?&]management=[^&]*(@|%40)", url):
        return f"{shown(url.partition('?')[0])}?…"  # what stands there may hold a password
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"  # where its password lies cannot be told
    return url.replace(f":{parts.password}@", ":***@", 1) if parts.password else url


def where(url: str) -> str:
    """The URL without its options, and its password masked: what errors of a broker begin with."""
    return shown(url.partition("?")[0])


def duration(url: str, options: dict[str, str], name: str, usual: str) -> float:
    """The seconds that an option says, taken out of the options. Raises ConfigError."""
    value = seconds(options.pop(name, usual), name)
    if not 0 < value < math.inf:
        raise ConfigError(f"{shown(url)!r}: {name} must be above 0")
    return value


def choice(url: str, options: dict[str, str], name: str, usual: str, other: str) -> bool:
    """Whether an option, taken out of the options, says the other of two words. Raises ConfigError."""
    value = options.pop(name, usual)
    if value not in (usual, other):
        raise ConfigError(f"{shown(url)!r}: {name} is {usual!r} or {other!r}, not {value!r}")
    return value == other


def rest(url: str, options: dict[str, str]) -> str:
    """The URL with what is left of its options, which are taken out: for a driver to judge."""
    address = urlunsplit(urlsplit(url)._replace(query=urlencode(options, quote_via=quote)))
    options.clear()
    return address


def is_loopback(host: str) -> bool:
    """Whether a host's name or address, in brackets or not, is this machine's own, whatever a name server says."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
