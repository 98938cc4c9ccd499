"""Guard: who may look, who may change what, and whether a change was requested from one of our pages."""

from __future__ import annotations

import hashlib
import hmac
import inspect
from base64 import b64decode
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from longboat.core.urls import is_loopback
from longboat.dashboard.ask import Person, Refused, Role
from longboat.dashboard.words import printable
from longboat.errors import ConfigError

COOKIE = "longboat-session"

Authorize = Callable[[Request], Role | str | None]
"""A program's own authorization: "viewer", "operator", "admin", or None for no access. Called in a thread."""

SHORTEST = 16
"""Characters of a token, at least."""
LONGEST_NAME = 100
PROXIES = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"})
"""Headers that reveal a proxy, besides X-Forwarded-…."""

HOW = (
    "Open it on this machine at http://127.0.0.1, or set a token: LONGBOAT_DASHBOARD_TOKEN for `longboat dashboard`, "
    "tokens= or authorize= for longboat_dashboard()."
)


class Guard:
    """Without tokens and a hook, only this machine is let in, through a loopback name, with the role `local`."""

    def __init__(self, tokens: Mapping[str, Role], authorize: Authorize | None, local: Role) -> None:
        """`tokens`: the role of each. Raises ConfigError."""
        if authorize is not None and tokens:
            raise ConfigError(
                "authorize: it decides who may do what, so tokens would have no effect; give only one of the two"
            )
        call = getattr(authorize, "__call__", None)  # noqa: B004  # it may be a callable object
        if inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(call):
            raise ConfigError(
                "authorize: it must be a plain function, which is called in a thread; this is a coroutine function"
            )
        self._tokens = dict(tokens)
        self._authorize = authorize
        self._local = local

    @property
    def has_tokens(self) -> bool:
        return bool(self._tokens)

    def admit(self, request: Request) -> Person:
        """Who makes this request. Raises Refused, and whatever a program's hook raises."""
        if self._authorize is not None:
            role = self._authorize(request)
            if role is None:
                raise Refused(403, "You do not have access.", "Ask whoever runs this program.")
            if not isinstance(role, Role | str) or (not isinstance(role, Role) and role.upper() not in Role.__members__):
                raise TypeError(f"authorize: it returned {role!r}, which is not a role")
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
        raise Refused(401, "Please sign in.", "Open the link with ?token=… that you were given, or enter the token.")

    def session_for(self, given: str) -> str | None:
        """The cookie for a token from a link or a form; None for a wrong token."""
        return next((session(token) for token in self._tokens if _same(given, token)), None)

    def _only_here(self, request: Request) -> None:
        client = request.client.host if request.client else ""
        forwarded = any(name in PROXIES or name.startswith("x-forwarded-") for name in request.headers)
        if forwarded or not (is_loopback(client) and is_loopback(_host(request))):
            raise Refused(403, "This dashboard can only be opened on its own machine.", HOW)


def check_origin(request: Request) -> None:
    """A browser says which site a request comes from; raises Refused if it is not ours.

    Links may lead here from anywhere, since looking changes nothing. Programs other than browsers say nothing.
    """
    site = request.headers.get("sec-fetch-site")
    if request.method in ("GET", "HEAD"):
        if site in ("cross-site", "same-site") and request.headers.get("sec-fetch-mode") != "navigate":
            raise Refused(403, "This request came from within another site's page.")
        return
    if site is not None:
        fine = site in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        fine = origin is None or origin.partition("://")[2] == request.headers.get("host", "")
    if not fine:
        raise Refused(403, "This request came from another site's page; nothing was changed.")


def session(token: str) -> str:
    """What a browser stores instead of the token."""
    return hmac.new(token.encode(), b"longboat dashboard session", hashlib.sha256).hexdigest()


def _given(request: Request) -> tuple[str, str]:
    """The user name and the token in an Authorization header."""
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
