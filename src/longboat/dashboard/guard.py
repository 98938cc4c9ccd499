"""Guard: who may look, who may change what, and whether a change was requested from one of our pages."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import math
import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from longboat.core.text import escaped
from longboat.core.urls import is_loopback
from longboat.dashboard.ask import Person, Refused, Role
from longboat.dashboard.guesses import Guesses
from longboat.dashboard.sessions import Sessions, digest
from longboat.errors import ConfigError

Authorize = Callable[[Request], Role | str | tuple[Role | str, str] | None]
"""A program's own authorization: "viewer", "operator", "admin", one of these with the person's name, or None for no access.
Called in a thread."""

SHORTEST = 16
"""Characters of a token, at least."""
LONGEST_NAME = 100
PROXIES = (
    *("forwarded", "via", "x-forwarded", "x-real-ip", "x-client", "x-cluster-client", "x-original-", "x-remote-"),
    *(
        "x-envoy-",
        "x-proxy",
        "x-scheme",
        "x-amzn-",
        "true-client-ip",
        "cf-",
        "cdn-loop",
        "fastly-",
        "fly-",
        "front-end-https",
    ),
)
"""What the names of headers begin with that a proxy adds."""

HOW = (
    "Open it on this machine at http://127.0.0.1, or let people sign in with a token: LONGBOAT_DASHBOARD_TOKEN for "
    "`longboat dashboard`, tokens= or authorize= for longboat_dashboard()."
)


class Guard:
    """Who is let in: whom the hook lets in, or who has a token, or anybody on this machine with the role `local`."""

    def __init__(
        self, tokens: Mapping[str, Role], authorize: Authorize | None, local: Role | None, sessions: Sessions
    ) -> None:
        """`tokens`: the role of each. Raises ConfigError.

        Without any of the three a token is made, which is good until this process ends: `made`.
        """
        if authorize is not None and tokens:
            raise ConfigError(
                "authorize: it decides who may do what, so tokens would have no effect; give only one of the two"
            )
        call = getattr(authorize, "__call__", None)  # noqa: B004  # it may be a callable object
        if inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(call):
            raise ConfigError(
                "authorize: it must be a plain function, which is called in a thread; this is a coroutine function"
            )
        for token in tokens:
            check_token(token)
        self.made = "" if tokens or authorize is not None or local is not None else secrets.token_urlsafe(24)
        """The token that was made."""
        self._tokens = {self.made: Role.ADMIN} if self.made else dict(tokens)
        self._authorize = authorize
        self._local = local
        self._sessions = sessions
        self._guesses = Guesses()

    @property
    def has_tokens(self) -> bool:
        return bool(self._tokens)

    def admit(self, request: Request) -> Person:
        """Who makes this request. Raises Refused, BrokerError, and whatever a program's hook raises."""
        if self._authorize is not None:
            return _person(request, self._authorize(request))
        if self._tokens:
            return self._by_token(request)
        self._only_here(request)
        return Person("local", self._local or Role.VIEWER)

    def _by_token(self, request: Request) -> Person:
        name, given = _given(request)
        if given:
            role = self._tokens[self._token(request, given)]
            return Person(f"“{name}”" if name else role.name.lower(), role)
        signed_in = self._sessions.find(request.cookies.get(cookie(request), ""))
        for token, role in self._tokens.items():
            if _same(signed_in, digest(token)):
                return Person(role.name.lower(), role, signed_in=True)
        raise Refused(401, "Please sign in.", "Open the link with ?token=… that you were given, or enter the token.")

    def sign_in(self, request: Request, given: str) -> str:
        """What the browser's cookie shall say, for a token from a link or a form. Raises Refused and BrokerError."""
        return self._sessions.start(self._token(request, given))

    def sign_out(self, request: Request) -> None:
        """Raises BrokerError."""
        self._sessions.end(request.cookies.get(cookie(request), ""))

    def _token(self, request: Request, given: str) -> str:
        """The token that this is. Raises Refused."""
        address = request.client.host if request.client else ""
        if (wait := self._guesses.wait(address)) > 0:
            raise Refused(429, "Too many wrong tokens came from your address.", f"Try again in {math.ceil(wait)} seconds.")
        for token in self._tokens:
            if _same(given, token):
                return token
        self._guesses.wrong(address)
        raise Refused(401, "This token is wrong.")

    def _only_here(self, request: Request) -> None:
        client = request.client.host if request.client else ""
        forwarded = any(name.startswith(PROXIES) for name in request.headers)
        if forwarded or not (is_loopback(client) and is_loopback(_host(request))):
            raise Refused(403, "This dashboard can only be opened on its own machine.", HOW)


def _person(request: Request, said: Role | str | tuple[Role | str, str] | None) -> Person:
    """Whom a program's hook lets in. Raises Refused, and TypeError for what it may not return."""
    if said is None:
        raise Refused(403, "You do not have access.", "Ask whoever runs this program.")
    user = request.scope.get("user")
    name: object = getattr(user, "display_name", "") or getattr(user, "username", "") or "signed in"
    role: object = said
    if isinstance(said, tuple) and len(said) == 2:
        role, name = said
    if isinstance(role, str) and not isinstance(role, Role):
        role = Role.__members__.get(role.upper())
    if not isinstance(role, Role):
        raise TypeError(f"authorize: it returned {said!r}, which is neither a role nor a role and a name")
    return Person(escaped(str(name)[:LONGEST_NAME]), role)


def check_token(token: str) -> None:
    """Raises ConfigError for a token that could be guessed."""
    kinds = [any(test(character) for character in token) for test in (str.isalpha, str.isdigit)]
    if len(token) < SHORTEST or len(set(token)) < SHORTEST // 2 or not all(kinds):
        raise ConfigError(
            f"tokens: one could be guessed; a token has at least {SHORTEST} characters, with letters and digits among them "
            f"and {SHORTEST // 2} different ones. Use a random one, such as {secrets.token_urlsafe(24)}"
        )


def cookie(request: Request, name: str = "session") -> str:
    """A cookie's name. Browsers do not tell ports apart, so dashboards at several ports or paths need names of their own."""
    root = request.scope.get("root_path", "")
    at = f"{request.headers.get('host', '')} {root}"
    return f"longboat-{name}-{hashlib.sha256(at.encode()).hexdigest()[:8]}"


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
        # No page of another site can make a browser send X-Forwarded-Host.
        ours = (request.headers.get("host", ""), request.headers.get("x-forwarded-host", "").partition(",")[0].strip())
        fine = origin is None or origin.partition("://")[2] in filter(None, ours)
    if not fine:
        advice = "If a proxy is in front of the dashboard, it must pass on the Host header, or send X-Forwarded-Host."
        raise Refused(403, "This request came from another site's page; nothing was changed.", "" if site else advice)


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
        return escaped(name[:LONGEST_NAME]).strip("“”"), password
    return "", ""


def _host(request: Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
