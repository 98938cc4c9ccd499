"""Guard: who may look, who may change what, and whether a change was asked for on a page of ours."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import ipaddress
from base64 import b64decode
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from longboat.dashboard.ask import Person, Refused, Role
from longboat.dashboard.words import printable
from longboat.errors import ConfigError

COOKIE = "longboat-session"

Authorize = Callable[[Request], Role | str | None]
"""A program's own answer to who somebody is: "viewer", "operator", "admin", or None for nobody. Called in a thread."""

SHORTEST = 16
"""Characters of a token."""
LONGEST_NAME = 100
PROXIES = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"})
"""Headers by which a proxy shows itself, beside X-Forwarded-…."""

HOW = (
    "Look from this machine at http://127.0.0.1, or set a token: LONGBOAT_DASHBOARD_TOKEN for `longboat dashboard`, "
    "tokens= or authorize= for longboat_dashboard()."
)


class Guard:
    """Without tokens and a hook, only this machine is let in, by a loopback name, and with `local` as its role."""

    def __init__(self, tokens: Mapping[str, Role], authorize: Authorize | None, local: Role) -> None:
        """`tokens`: what each of them allows. Raises ConfigError."""
        if authorize is not None and tokens:
            raise ConfigError("authorize: it says who somebody is, so no token would; give one of both")
        call = getattr(authorize, "__call__", None)  # noqa: B004  # of an object, which may be called as well
        if inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(call):
            raise ConfigError("authorize: a plain function is called, in a thread of its own; this is a coroutine function")
        self._tokens = dict(tokens)
        self._authorize = authorize
        self._local = local

    @property
    def has_tokens(self) -> bool:
        return bool(self._tokens)

    def admit(self, request: Request) -> Person:
        """Raises Refused, and what a program's hook raises."""
        if self._authorize is not None:
            role = self._authorize(request)
            if role is None:
                raise Refused(403, "You may not look at this.", "Ask whoever runs this program.")
            if not isinstance(role, Role | str) or (not isinstance(role, Role) and role.upper() not in Role.__members__):
                raise TypeError(f"authorize: it answered {role!r}, which is no role")
            user = request.scope.get("user")
            name = getattr(user, "display_name", "") or getattr(user, "username", "") or "signed in"
            return Person(printable(str(name)[:LONGEST_NAME]), role if isinstance(role, Role) else Role[role.upper()])
        if self._tokens:
            return self._by_token(request)
        self._only_here(request)
        return Person("local", self._local)

    def _by_token(self, request: Request) -> Person:
        name, given = _given(request)
        cookie = request.cookies.get(COOKIE, "")
        for token, role in self._tokens.items():
            if _same(given, token) or _same(cookie, session(token)):
                return Person(f"“{name}”" if name else role.name.lower(), role)
        raise Refused(401, "Who are you?", "Open the link with ?token=… that was given to you, or sign in with the token.")

    def session_for(self, given: str) -> str | None:
        """The cookie for a token that was given in a link or a form; None for a wrong one."""
        return next((session(token) for token in self._tokens if _same(given, token)), None)

    def _only_here(self, request: Request) -> None:
        client = request.client.host if request.client else ""
        forwarded = any(name in PROXIES or name.startswith("x-forwarded-") for name in request.headers)
        if forwarded or not (is_loopback(client) and is_loopback(_host(request))):
            raise Refused(403, "This dashboard is for its own machine only.", HOW)


def check_origin(request: Request) -> None:
    """A browser says on whose page something was asked for; raises Refused if that was not one of ours.

    A link may lead here from anywhere: looking changes nothing. Other programs than browsers say nothing.
    """
    site = request.headers.get("sec-fetch-site")
    if request.method in ("GET", "HEAD"):
        if site in ("cross-site", "same-site") and request.headers.get("sec-fetch-mode") != "navigate":
            raise Refused(403, "This was asked for within another site's page.")
        return
    if site is not None:
        fine = site in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        fine = origin is None or origin.partition("://")[2] == request.headers.get("host", "")
    if not fine:
        raise Refused(403, "This was asked for on another site's page; nothing was changed.")


def is_loopback(host: str) -> bool:
    """Whether this names the machine itself, whatever any name server says."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def session(token: str) -> str:
    """What a browser keeps instead of the token."""
    return hmac.new(token.encode(), b"longboat dashboard session", hashlib.sha256).hexdigest()


def _given(request: Request) -> tuple[str, str]:
    """The user's name and the token of an Authorization header."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return "", value.strip()
    if kind.lower() == "basic":
        try:
            name, _, password = b64decode(value).decode().partition(":")
        except ValueError:
            return "", ""
        return printable(name[:LONGEST_NAME]).strip("“”"), password
    return "", ""


def _host(request: Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
