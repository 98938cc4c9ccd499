"""What the server's management plugin tells over HTTP: which queues there are, and how much is in them.

Its numbers are up to five seconds old: the server counts anew that often.
"""

from __future__ import annotations

import base64
import http.client
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec

from longboat.brokers.rabbitmq.names import STEPS, Names
from longboat.core.job import State

PAUSE = 10.0
"""Seconds for which a plugin that did not answer is not asked again."""

MANY = "*"
"""Stands for the queue of jobs whose queue cannot be told, since those of all queues lie together."""

CHUNK = 65_536
TOTALS = "disable_stats=true&enable_queue_totals=true&columns=name,messages_ready,messages_unacknowledged"
POLICIES = "columns=name,policy,operator_policy,effective_policy_definition"

T = TypeVar("T")

log = logging.getLogger("longboat.rabbitmq")


class Depth(msgspec.Struct):
    name: str
    messages_ready: int = 0
    messages_unacknowledged: int = 0


class Governed(msgspec.Struct):
    """A queue of the server, and what policies say of it."""

    name: str
    policy: str | None = None
    operator_policy: str | None = None
    effective_policy_definition: dict[str, Any] | list[Any] = []
    """An empty one is told as a list."""


class _Binding(msgspec.Struct):
    routing_key: str


class Depths(msgspec.Struct):
    """All queues of jobs that have the broker's prefix, and the server's queues by name."""

    queues: set[str]
    depths: Mapping[str, Depth]

    def counts(self, names: Names) -> dict[tuple[str, State], int]:
        """Running jobs by queue, those counted as of MANY that lie in queues of their consumers' own, and scheduled ones."""
        running = {queue: [names.ready(queue, level) for level in names.levels] for queue in self.queues}
        held = [name for name in self.depths if names.is_held(name)]
        found = {(queue, State.RUNNING): self._sum(each, ready=False) for queue, each in running.items()}
        found[MANY, State.RUNNING] = self._sum(held)
        found[MANY, State.SCHEDULED] = self._sum([names.step(number) for number in range(STEPS)])
        return {place: number for place, number in found.items() if number}

    def _sum(self, names: Iterable[str], *, ready: bool = True) -> int:
        there = [self.depths[name] for name in names if name in self.depths]
        return sum(each.messages_unacknowledged + (each.messages_ready if ready else 0) for each in there)


class Management:
    """`url`: http://host:15672 or https://…; raises ValueError for another. For any thread."""

    def __init__(self, url: str, user: str, password: str, vhost: str, timeout: float) -> None:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or "@" in parts.netloc
            or parts.query
            or parts.fragment
        ):
            raise ValueError("management is a URL such as http://host:15672, without a user: that is the broker's")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._shown = f"{parts.scheme}://{parts.netloc}"
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._vhost = quote(vhost, safe="")
        self._timeout = timeout
        self._quiet_until = 0.0
        self._warned = False

    def look(self, names: Names) -> Depths | None:
        """None: the plugin does not answer, or does not let this user in. Said once in the log, and tried again later."""
        arrivals, end = quote(names.arrivals, safe=""), time.monotonic() + self._timeout
        told = self._told(f"exchanges/{self._vhost}/{arrivals}/bindings/source", list[_Binding], end)
        depths = self._told(f"queues/{self._vhost}?{TOTALS}", list[Depth], end)
        if told is None or depths is None:
            return None
        return Depths(
            {queue for each in told if (queue := queue_of(each.routing_key))}, {each.name: each for each in depths}
        )

    def governed(self, names: Names) -> list[Governed] | None:
        """What policies say of the server's queues with the prefix; None as in `look`."""
        told = self._told(f"queues/{self._vhost}?{POLICIES}", list[Governed], time.monotonic() + self._timeout)
        return None if told is None else [each for each in told if each.name.startswith(f"{names.prefix}.")]

    def _told(self, path: str, kind: type[T], end: float) -> T | None:
        if time.monotonic() < self._quiet_until:
            return None
        try:
            return msgspec.json.decode(self._get(path, end), type=kind)
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            self._quiet_until = time.monotonic() + PAUSE
            if not self._warned:
                self._warned = True
                log.warning("the management plugin at %s is not used: %s: %s", self._shown, type(error).__name__, error)
            return None

    def _get(self, path: str, end: float) -> bytes:
        """The body of an answer; OSError for any but 200, and when it is not whole by `end`."""
        connection = self._kind(self._host, self._port, timeout=_left(end))
        try:
            connection.connect()
            sock = connection.sock
            connection.request("GET", f"{self._path}/api/{path}", headers={"Authorization": f"Basic {self._login}"})
            sock.settimeout(_left(end))
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise ConnectionError(f"it answers {answer.status} {answer.reason}")
            body = bytearray()
            while chunk := answer.read1(CHUNK):
                body += chunk
                sock.settimeout(_left(end))
            return bytes(body)
        finally:
            connection.close()


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def queue_of(key: str) -> str:
    """The queue that a binding of the arrivals leads to: the last word but one."""
    words = key.split(".")
    return unquote(words[-2]) if len(words) > 1 else ""
