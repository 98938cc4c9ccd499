"""Sessions: who has signed in, kept with the broker, so that several dashboards know them and a restart forgets none."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.contract.kv import Entry
from longboat.core.clock import SYSTEM

NAMESPACE = "sessions"
LIFETIME = 7 * 86400.0
"""Seconds until one has to sign in again."""
REUSED = 2.0
"""Seconds for which a session that was looked up is not looked up again: so late is a sign-out seen by another dashboard."""
MOST = 10_000
"""Sessions that are remembered in this process."""


class Session(msgspec.Struct, frozen=True, array_like=True):
    """One browser that has signed in."""

    token: str
    """A hash of the token it signed in with: once the dashboard no longer accepts that token, the session is over."""
    until: float


class Sessions:
    """A browser holds a random secret; what is kept is its hash. Safe to use from any thread.

    A broker without entries (RabbitMQ alone) cannot keep them: there they last as long as this process.
    """

    def __init__(self, broker: Callable[[], Broker]) -> None:
        self._broker = broker
        self._known: dict[str, tuple[float, Session | None]] = {}
        self._lock = threading.Lock()

    def start(self, token: str) -> str:
        """Returns the secret for the browser's cookie. Raises BrokerError."""
        secret = secrets.token_urlsafe(32)
        session = Session(digest(token), SYSTEM.now() + LIFETIME)
        if self._kept:
            entry = Entry(digest(secret), msgspec.msgpack.encode(session), LIFETIME)
            self._broker().kv.write(NAMESPACE, [entry])
        self._remember(digest(secret), session)
        return secret

    def find(self, secret: str) -> str:
        """The hash of the token that this browser signed in with; empty if it is not signed in. Raises BrokerError."""
        if not secret:
            return ""
        key, now = digest(secret), SYSTEM.now()
        with self._lock:
            seen, session = self._known.get(key, (0.0, None))
        if self._kept and now - seen > REUSED:
            value = self._broker().kv.read(NAMESPACE, [key])[0]
            session = None if value is None else msgspec.msgpack.decode(value, type=Session)
            self._remember(key, session)
        return session.token if session is not None and now < session.until else ""

    def end(self, secret: str) -> None:
        """Sign out. Raises BrokerError."""
        if self._kept:
            self._broker().kv.write(NAMESPACE, [Entry(digest(secret), None)])
        self._remember(digest(secret), None)

    @property
    def _kept(self) -> bool:
        return Capability.KV in self._broker().capabilities

    def _remember(self, key: str, session: Session | None) -> None:
        with self._lock:
            if len(self._known) >= MOST:  # the oldest are looked up again, or are over where nothing keeps them
                self._known.pop(next(iter(self._known)))
            self._known[key] = SYSTEM.now(), session


def digest(secret: str) -> str:
    return hashlib.sha256(b"longboat dashboard " + secret.encode()).hexdigest()
