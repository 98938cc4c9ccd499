"""RedisBroker: jobs on a Redis or Valkey server, shared by any number of machines."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from longboat.brokers.redis.address import address_of
from longboat.brokers.redis.constrained import constraint_values, is_constrained
from longboat.brokers.redis.keys import SIZE, key_of
from longboat.brokers.redis.kv import RedisKV
from longboat.brokers.redis.server import Server, Value
from longboat.contract.broker import Token
from longboat.contract.capabilities import WHOLE_CONTRACT, Capability
from longboat.contract.optional import Report
from longboat.core import codec
from longboat.core.clock import SYSTEM, Clock
from longboat.core.job import Failure, Job
from longboat.errors import UnknownParent

if TYPE_CHECKING:  # what a caller that only puts does without is imported when it is asked for
    from longboat.brokers.redis.consumer import RedisConsumer
    from longboat.brokers.redis.inspector import RedisInspector
    from longboat.brokers.redis.results import RedisResults
    from longboat.brokers.redis.transfer import RedisTransfer

DEFAULT_PREFIX = "longboat"
TIDY_AGAIN = 1.0
"""Seconds until the next look, at most: jobs put meanwhile may be due earlier than what was there."""
_HEADROOM = 0.95
"""The part of the time limit that the server may use up, so that an error comes within the limit."""


class _Group(NamedTuple):
    """Jobs in a row that are put alike, their keys growing: they may share a place, which goes by the order given."""

    first: Job
    constrained: bool
    members: list[Value]


class RedisBroker:
    """Keeps jobs on the server that the URL names, under keys that begin with `{prefix}:`, all in one slot of a Cluster.

    What it acknowledged is in the server's memory; what that survives is for the server's configuration to say
    (docs/redis.md). `timeout`: seconds that a call may take. The server's clock decides, unless a `clock` is given.
    Survives fork: the child opens its own connections.
    """

    capabilities = WHOLE_CONTRACT | {Capability.DIAGNOSE, Capability.TIDY}

    def __init__(
        self,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = 2.0,
        options: dict[str, str] | None = None,
        where: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        tag = f"{{{prefix}}}:"
        address = address_of(url, tag, timeout * _HEADROOM, options if options is not None else {})
        self._server = Server(address, where or url, tag, clock, timeout)
        self._numbers = itertools.count(1)
        self.kv = RedisKV(self._server)

    @cached_property
    def results(self) -> RedisResults:
        from longboat.brokers.redis.results import RedisResults

        return RedisResults(self._server)

    @cached_property
    def inspector(self) -> RedisInspector:
        from longboat.brokers.redis.inspector import RedisInspector

        return RedisInspector(self._server)

    @cached_property
    def transfer(self) -> RedisTransfer:
        from longboat.brokers.redis.transfer import RedisTransfer

        return RedisTransfer(self._server)

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        if not jobs:
            return []
        ids: dict[bytes, str] = {}
        members: list[Value] = []
        groups: list[_Group] = []
        kind: tuple[object, ...] = ()
        before = b""
        after = False
        encode, key = codec.encode_job, key_of
        for job in jobs:
            its = key(job.id)
            if its in ids:
                continue
            ids[its] = job.id
            constraints = job.constraints
            constrained = constraints is not None and is_constrained(constraints)
            if kind != (kind := (job.queue, job.priority, job.delay, job.expires, constrained)) or its <= before:
                groups.append(_Group(job, constrained, members := []))
            before = its
            members.append(its)
            members.append(encode(job))
            if constrained and constraints:
                members += constraint_values(constraints)
                after = after or bool(constraints.after)
        values: list[Value] = []
        for first, constrained, members in groups:
            expires = "" if first.expires is None else repr(first.expires)
            count = len(members) // (5 if constrained else 2)
            values += (
                first.queue,
                first.priority,
                repr(first.delay),
                expires,
                "constrained" if constrained else "",
                count,
                *members,
            )
        # A put without a token gets one, since it is made again when a connection turns out to be dead.
        client, number = token or (self._server.client, next(self._numbers))
        known = self._server.call("put", client, number, "after" if after else "", len(groups), *values)
        if isinstance(known, bytes):
            raise _unknown_parent(jobs, known)
        if not known:
            return list(ids.values()) if known is not None else [job.id for job in jobs]
        left = set(known)
        return [job_id for its, job_id in ids.items() if its not in left]

    def consumer(self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = "") -> RedisConsumer:
        from longboat.brokers.redis.consumer import registered

        return registered(self._server, list(dict.fromkeys(queues)), lease, tasks, name)

    def evict(self, consumer: str, failure: Failure) -> int:
        count: int = self._server.call("unregister", consumer, codec.encode_failures([failure])[1:])
        return count

    def diagnose(self) -> Report:
        from longboat.brokers.redis import doctor  # for who asks only

        return doctor.look(self._server)

    def tidy(self, budget: float) -> float:
        until = SYSTEM.monotonic() + budget
        while (due := self._server.call("tidy")) and float(due) <= 0:
            if SYSTEM.monotonic() >= until:
                return 0.0
        return min(float(due or TIDY_AGAIN), TIDY_AGAIN)

    def close(self) -> None:
        self._server.close()


def _unknown_parent(jobs: Sequence[Job], found: bytes) -> UnknownParent:
    """The error for a job and a parent, said by their keys."""
    child = next(job for job in jobs if key_of(job.id) == found[:SIZE])
    parent = next(name for name in (child.constraints.after if child.constraints else ()) if key_of(name) == found[SIZE:])
    return UnknownParent(f"job {child.id} comes after {parent}, which is not known here")
