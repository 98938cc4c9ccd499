"""What a job carries of a call: its arguments as they were given, and what differs from its task's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.conf import settings

from longboat.core import codec
from longboat.core.bounds import MESSAGE_LIMIT
from longboat.core.job import order_of
from longboat.errors import TooLarge
from longboat.tasks.arguments import Arguments
from longboat.tasks.kinds import Kind

HEADER = "django"


class Beside(msgspec.Struct, omit_defaults=True):
    """What a call says of itself where its task says something else. It travels in a header, as JSON."""

    backend: str = ""
    """The alias of its backend."""
    priority: int | None = None
    run_after: datetime | None = None

    def header(self) -> dict[str, str]:
        text = msgspec.json.encode(self).decode()
        return {} if text == "{}" else {HEADER: text}


_NOTHING = Beside()
_beside = msgspec.json.Decoder(Beside)


def beside(headers: Mapping[str, str]) -> Beside:
    """What came with a job; nothing, if it cannot be read."""
    text = headers.get(HEADER)
    try:
        return _NOTHING if text is None else _beside.decode(text)
    except msgspec.MsgspecError:
        return _NOTHING


class SentArguments(Arguments):
    """Positional ones reach the function as such, named ones by name: as `TaskResult` shows them."""

    def decode(self, payload: bytes) -> tuple[list[Any], dict[str, Any]]:
        super().decode(payload)  # raises for those that do not fit the function
        return as_sent(payload)


def as_sent(payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call as it gave them. Raises Undecodable."""
    every = codec.decode(payload, dict[str, Any])
    named = {name.removeprefix("/"): value for name, value in every.items() if name != "*"}
    if "*" not in every:
        return [], named
    count = list(every).index("*")
    return [*list(every.values())[:count], *every["*"]], dict(list(named.items())[count:])


class Returned(msgspec.Struct):
    """What a job's result is: the return value, and who says so, which no broker remembers of a job that has ended well."""

    return_value: Any
    worker_id: str = ""


class Encoded(Kind):
    """Results are encoded by the attempt itself, so that one that cannot be stored is its failure."""

    def encode(self, value: bytes) -> bytes:
        return value


def encoded(value: Any, worker: str) -> bytes:
    """A normalized return value as a job's result. Raises TypeError, ValueError, OverflowError or TooLarge."""
    data = codec.encode(Returned(value, worker))
    if len(data) > MESSAGE_LIMIT:
        raise TooLarge(f"the result has {len(data):,} bytes, the limit is {MESSAGE_LIMIT:,}: store it, and return its key")
    return data


def enqueued_at(job_id: str, enqueued: float | None = None) -> datetime | None:
    """When a job was enqueued, which its id tells; `enqueued`: what the broker says, for one that was given another id."""
    order = order_of(job_id)
    return shown(enqueued if order is None else (order >> 12) / 1e6)


def shown(at: float | None) -> datetime | None:
    """Wall-clock seconds as Django shows them: aware in UTC, or naive where USE_TZ is off."""
    return None if at is None else datetime.fromtimestamp(at, UTC if settings.USE_TZ else None)
