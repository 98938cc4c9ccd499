"""Jobs on their way into another broker, or out of one: whole, each way in one script."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from longboat.brokers.redis.keys import key_of, shown
from longboat.brokers.redis.server import Server, Value
from longboat.brokers.redis.tied import tied_values
from longboat.brokers.redis.views import job_or_none
from longboat.contract.transfer import ROOM, Parcel
from longboat.core.job import Failure

_FIELDS = 8
"""Of one parcel: see lua/pack.lua."""

_history = msgspec.msgpack.Decoder(tuple[int, int, list[Failure]])


class RedisTransit:
    def __init__(self, server: Server) -> None:
        self._server = server

    def pack(self, name: str, ids: Sequence[str]) -> list[Parcel]:
        flat = self._server.call("pack", name, ROOM, *(key_of(job_id) for job_id in ids))
        return [_parcel(flat[at : at + _FIELDS]) for at in range(0, len(flat), _FIELDS)]

    def packed(self) -> list[str]:
        return [name.decode() for name in self._server.command("ZRANGE", self._server.key("transits"), 0, -1)]

    def unpack(self, name: str, parcels: Sequence[Parcel]) -> list[str]:
        values: list[Value] = []
        for parcel in parcels:
            job = job_or_none(parcel.message)
            turn, gates = tied_values(job.ties)[1:] if job and job.ties else ("", b"")
            history = (parcel.attempts, parcel.returns, parcel.failures)
            values += (
                key_of(parcel.id),
                parcel.message,
                parcel.queue,
                parcel.priority,
                "d" if parcel.dead else "",
                repr(parcel.delay),
                "" if parcel.expires is None else repr(parcel.expires),
                msgspec.msgpack.encode(history) if any(history) else b"",
                turn,
                gates,
            )
        known = self._server.call("unpack", name, *values)
        left = set(known or ())
        return [parcel.id for parcel in parcels if key_of(parcel.id) not in left]

    def delivered(self, name: str) -> None:
        self._server.call("delivered", name)


def _parcel(fields: Sequence[bytes]) -> Parcel:
    key, message, queue, priority, dead, delay, expires, history = fields
    job = job_or_none(message)
    attempts, returns, failures = _history.decode(history) if history else (0, 0, [])
    return Parcel(
        job.id if job else shown(key),
        message,
        queue.decode(errors="surrogateescape"),
        int(priority),
        dead == b"d",
        float(delay),
        float(expires) if expires else None,
        attempts,
        returns,
        failures,
    )
