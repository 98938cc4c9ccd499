"""Jobs on their way into another broker, or out of one: whole, each way in one script."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from longboat.brokers.redis.constrained import constraint_values
from longboat.brokers.redis.keys import key_of, shown
from longboat.brokers.redis.server import Server, Value
from longboat.brokers.redis.views import read_history
from longboat.contract.base_pages import batches
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core.views import job_or_none

_FIELDS = 8
"""Of one exported job: see lua/export.lua."""


class RedisTransfer:
    def __init__(self, server: Server) -> None:
        self._server = server

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        flat = self._server.call("export", name, ROOM, *map(key_of, ids))
        return [_exported(fields) for fields in batches(flat, _FIELDS)]

    def unconfirmed(self) -> list[str]:
        return [name.decode() for name in self._server.command("ZRANGE", self._server.key("exports"), 0, -1)]

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        values: list[Value] = []
        for exported in exported_jobs:
            job = job_or_none(exported.message)
            fairness_key, limits = constraint_values(job.constraints)[1:] if job and job.constraints else ("", b"")
            history = (exported.attempts, exported.worker_deaths, exported.failures)
            values += (
                key_of(exported.id),
                exported.message,
                exported.queue,
                exported.priority,
                "d" if exported.dead else "",
                repr(exported.delay),
                "" if exported.expires is None else repr(exported.expires),
                msgspec.msgpack.encode(history) if any(history) else b"",
                fairness_key,
                limits,
            )
        known = set(self._server.call("import", name, *values) or ())
        return [exported.id for exported in exported_jobs if key_of(exported.id) not in known]

    def confirm(self, name: str) -> None:
        self._server.call("confirm", name)


def _exported(fields: Sequence[bytes]) -> ExportedJob:
    key, message, queue, priority, dead, delay, expires, history = fields
    job = job_or_none(message)
    return ExportedJob(
        job.id if job else shown(key),
        message,
        queue.decode(errors="surrogateescape"),
        int(priority),
        dead == b"d",
        float(delay),
        float(expires) if expires else None,
        *read_history(history),
    )
