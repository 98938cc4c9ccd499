"""URLs of brokers: read for their adapters, and shown without what is secret in them."""

from __future__ import annotations

import ipaddress
import math
import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlencode

from longboat.core.clock import seconds
from longboat.errors import ConfigError

PLAIN = frozenset(
    {
        *("application_name", "authkey_file", "connect_timeout", "connection_attempts", "db", "dbname", "gssencmode"),
        *("heartbeat", "hold", "host", "hostaddr", "keepalives", "levels", "load_balance_hosts", "management", "options"),
        *("pgbouncer", "port", "prefix", "queues", "results", "retry_delay", "schema", "sentinel_username", "service"),
        *("socket_timeout", "ssl_ca", "ssl_cert", "ssl_cert_reqs", "ssl_check_hostname", "ssl_key", "sslcert", "sslkey"),
        *("sslmode", "sslrootcert", "synchronous", "target_session_attrs", "tcp_user_timeout", "timeout", "user"),
        "username",
    }
)
"""Options whose values are shown. That of any other, a misspelt one too, may be a secret."""
_FILES = ("sqlite", "memory")
"""Schemes without user and host."""


class Url(str):
    """A URL that shows itself without what is secret in it. Only code that takes it apart sees the whole."""

    __slots__ = ()

    def __str__(self) -> str:
        return shown(self)

    def __repr__(self) -> str:
        return repr(shown(self))

    def __format__(self, spec: str) -> str:
        return format(shown(self), spec)


def whole(url: str) -> str:
    """The URL as it was given."""
    return "".join(url)


class Parts(NamedTuple):
    """What stands in a URL before its options."""

    user: str | None
    password: str | None
    hosts: list[tuple[str, int | None]]
    """Each with its port, if it has one."""
    path: str
    """Percent-decoded, without the slash that it begins with."""


def parts(url: str) -> Parts:
    """The parts of "scheme://user:password@host:port,[::1]:port/path". Raises ConfigError."""
    address = _address(url)[1]
    user, at, rest = address.rpartition("@")
    hosts, _, path = rest.partition("/")
    name, colon, password = user.partition(":")
    return Parts(
        unquote(name) if name else None,
        unquote(password) if at and colon else None,
        [_host(url, each) for each in hosts.split(",")] if hosts else [],
        unquote(path),
    )


def _host(url: str, text: str) -> tuple[str, int | None]:
    found = _HOST.fullmatch(text)
    if found is None or int(found[2] or 0) > 65535:
        raise ConfigError(f"{shown(url)!r}: write each host as host, host:port or [::1]:port")
    return found[1].strip("[]"), int(found[2]) if found[2] else None


_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:\[\]]+)(?::(\d{1,5}))?")


def check(url: str) -> None:
    """Raises ConfigError for a character that must be escaped, since what comes after it would be read as something else."""
    scheme, address, query = _address(url)
    user, at, _ = address.rpartition("@")
    beside = [value for _, value in _pairs(query) if "://" not in unquote(value)]
    if scheme not in _FILES and (
        re.search(r"[/?#\[\]]|%(?![0-9a-fA-F]{2})", user) or (not at and any("@" in v for v in beside))
    ):
        raise ConfigError(
            f"{shown(url)!r}: some characters of a user or password must be escaped: / is written %2F, ? %3F, # %23, % %25, "
            f"@ %40, : %3A, [ %5B, ] %5D; urllib.parse.quote(password, safe='') does it"
        )
    if "#" in url:
        raise ConfigError(f"{shown(url)!r}: a URL ends at #, so write %23 where one is meant")
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ConfigError(f"{shown(url)!r}: a URL has no spaces and line breaks; write a space as %20")


def split(url: str) -> tuple[str, str | None]:
    """The URL without its last option `results`, and that, if it is the URL of a store with options of its own."""
    found = re.search(r"[?&]results=(?=[a-z+]+://)", url)
    return (url[: found.start()], url[found.end() :]) if found else (whole(url), None)


def shown(url: str) -> str:
    """The URL without its password, and without the values of options that may be secret, for messages."""
    first, beside = split(url)
    if beside is not None:
        return f"{shown(first)}{url[len(first) : -len(beside)]}{shown(beside)}"
    scheme, address, query = _address(first)
    if not scheme:
        return f"***@{address.rpartition('@')[2]}" if "@" in address else address
    if scheme not in _FILES:
        user, at, rest = address.rpartition("@")
        name, colon, _ = user.partition(":")
        if at:
            address = f"{name}:***@{rest}" if colon else f"***@{rest}"
        elif any("@" in value and "://" not in unquote(value) for _, value in _pairs(query)):
            return f"{scheme}://***"  # an unescaped "?" in a password
        else:  # what is no port may be a password whose "@" is missing
            hosts, slash, path = address.partition("/")
            address = f"{','.join(map(_shown_host, hosts.split(',')))}{slash}{path}"
    values = [f"{name}={_shown_value(name, value)}" if value or name in PLAIN else name for name, value in _pairs(query)]
    return f"{scheme}://{address}{'?' if query else ''}{'&'.join(values)}"


def _shown_host(text: str) -> str:
    return text if _HOST.fullmatch(text) or ":" not in text else f"{text.partition(':')[0]}:***"


def _shown_value(name: str, value: str) -> str:
    if "://" in unquote(value):
        return shown(unquote(value))
    return value if name in PLAIN else "***"


def _address(url: str) -> tuple[str, str, str]:
    """The scheme, what stands between "://" and the options, and the options."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "", whole(url), ""
    found = re.search(r"\?(?=[\w.-]+(=|&|$))", rest)
    return (scheme, rest[: found.start()], rest[found.end() :]) if found else (scheme, rest, "")


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&")) if name or value]


def where(url: str) -> str:
    """The URL without its options, and its password masked: what errors of a broker begin with."""
    return shown(url).partition("?")[0]


def without_secrets(text: str, url: str) -> str:
    """What a driver says of a URL, with the URL and its secrets masked."""
    found, options = parts(url), dict(_pairs(_address(url)[2]))
    secrets = [found.password, *(value for name, value in options.items() if name not in PLAIN)]
    text = text.replace(whole(url), shown(url))
    for secret in filter(None, [*secrets, *(unquote(secret or "") for secret in secrets)]):
        text = text.replace(secret, "***")
    return text


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


def refuse_others(url: str, options: dict[str, str]) -> None:
    """Raises ConfigError for options that nobody has taken out: they are not known."""
    if options:
        raise ConfigError(f"{where(url)!r}: unknown option {min(options)!r}")


def rest(url: str, options: dict[str, str]) -> str:
    """The URL with what is left of its options, which are taken out: for a driver to judge."""
    scheme, address, _ = _address(url)
    query = urlencode(options, quote_via=quote)
    options.clear()
    return f"{scheme}://{address}{'?' if query else ''}{query}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address, in brackets or not, is this machine's own, whatever a name server says."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
