"""Dispatcher: the object that the server publishes. It passes the clients' calls to the store behind."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from longboat.brokers.manager import frames, wire
from longboat.brokers.manager.forwarded import Forwarded
from longboat.brokers.manager.sessions import ConsumerSession, ListenerSession, Session
from longboat.brokers.manager.wire import VERBS, SessionVerb, Verb, encode
from longboat.contract.broker import Broker
from longboat.contract.optional import tidy_of
from longboat.core.clock import SYSTEM
from longboat.core.codec import DECODE_ERRORS
from longboat.errors import BrokerError, BrokerUnavailable, TooLarge

TIDY_AGAIN = 1.0
"""Seconds between two rounds of housekeeping, at most."""
_MARGIN = 100
"""Bytes of a frame beside the answer, at most."""


class Dispatcher:
    """Every verb of the contract, over any broker. Safe to use from several threads: a call that waits blocks no other."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._closed = False

    def call(self, name: str, data: bytes) -> bytes:
        """Do what a verb asks for. Raises what the store raises, BrokerError for what is no such request."""
        verb = VERBS.get(name)
        if verb is None:
            raise BrokerError(f"this server does not know {name!r}: it is of an older version than its client")
        if self._closed:
            raise BrokerUnavailable("the server is about to end")
        try:
            arguments = verb.asked.decode(data)
        except DECODE_ERRORS as error:
            raise BrokerError(f"the server does not understand this {name!r}: {error}") from None
        answer = encode(self._answer(verb, arguments))
        limit = frames.FRAME_LIMIT - _MARGIN
        if isinstance(verb, Forwarded) and verb.asks_for_several(arguments):
            limit = min(limit, wire.ROOM)
        if len(answer) > limit:
            raise TooLarge(f"the answer has {len(answer):,} bytes, over the limit of {limit:,}: ask for fewer at a time")
        return answer

    def _answer(self, verb: Verb[Any], arguments: Sequence[Any]) -> Any:
        if isinstance(verb, Forwarded):
            return verb.pass_on(self._broker, arguments)
        if isinstance(verb, SessionVerb):
            session = self._session(arguments[0])
            return getattr(session, verb.name)(*arguments[1:]) if session else verb.gone
        return getattr(self, f"_{verb.name}")(*arguments)

    def tidy(self, budget: float) -> float:
        """Forget the sessions of clients that are gone, and do the store's housekeeping. See the contract."""
        now = SYSTEM.monotonic()
        with self._lock:
            gone = {name: session for name, session in self._sessions.items() if now - session.used > session.patience}
            for name in gone:
                del self._sessions[name]
        _close(gone.values())
        store = tidy_of(self._broker)
        return min(store.tidy(budget), TIDY_AGAIN) if store else TIDY_AGAIN

    _tidy = tidy

    def close(self) -> None:
        """Hand back what clients hold, and end their waiting. Idempotent."""
        with self._lock:
            self._closed = True
            gone = list(self._sessions.values())
            self._sessions.clear()
        _close(gone)

    def _session(self, name: str) -> Session | None:
        session = self._sessions.get(name)
        if session is not None:
            session.used = SYSTEM.monotonic()
        return session

    # --- verbs

    def _capabilities(self) -> list[str]:
        return sorted(self._broker.capabilities)

    def _register(self, queues: Sequence[str], lease: float, tasks: Sequence[str], name: str) -> str:
        consumer = self._broker.consumer(queues, lease=lease, tasks=tasks, name=name)
        with self._lock:
            self._sessions[consumer.id] = ConsumerSession(consumer, lease)
        return consumer.id

    def _watch(self, listener: str, ids: Sequence[str]) -> bool:
        """Whether the listener is new here: it has to watch all that it watched before."""
        with self._lock:
            session = self._session(listener)
            new = session is None
            if session is None:
                session = self._sessions[listener] = ListenerSession(self._broker.results.listen())
        if isinstance(session, ListenerSession):
            session.watch(ids)
        return new

    def _end(self, name: str) -> None:
        if session := self._sessions.get(name):
            session.close()
            self._sessions.pop(name, None)


def _close(sessions: Iterable[Session]) -> None:
    for session in sessions:
        with contextlib.suppress(BrokerError):  # then its jobs come back when the lease ends
            session.close()
