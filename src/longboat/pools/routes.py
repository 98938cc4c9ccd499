"""Routes: where the calls of an executor or a pool become jobs, and what the jobs' results mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple, Protocol

from longboat.app import Longboat
from longboat.client.waiting import value_of
from longboat.core.job import Job
from longboat.core.portions import portions
from longboat.errors import ConfigError, JobFailed
from longboat.pools.future import cancel_all
from longboat.pools.private import Private
from longboat.pools.raised import again
from longboat.pools.way import Call, Packed, Way
from longboat.tasks.handle import Handle
from longboat.tasks.limits import UniqueKey
from longboat.tasks.outgoing import Outgoing
from longboat.tasks.task import Task

PUT = 1000
"""Jobs in one put, at most."""
KEEP = 86_400.0
"""Seconds that the results of a batch are kept: for as long, brokers know the ids of jobs that have ended."""
LONGEST = 100
"""Characters of a batch's name, at most."""


class Sent(NamedTuple):
    """Calls that are a job."""

    handle: Handle[Any]
    values: Callable[[], list[Any]]
    """What the calls returned, once the job has ended. Raises what the future is to raise."""
    drop: Callable[[], object] | None = None
    """Called once the job has ended."""


Expect = Callable[[Sequence[Sent]], Callable[[], None]]
"""Waits for these from now on. Returns what is to be called if they are not stored after all."""


class Route(Protocol):
    chunked: bool
    """Whether a job can hold several calls."""

    @property
    def app(self) -> Longboat: ...

    def send(self, fn: Callable[..., Any], chunks: Sequence[Sequence[Call]], expect: Expect) -> None:
        """Store a job for each chunk, in batches. Raises what `enqueue` raises, and what a way does."""
        ...

    def end(self) -> None:
        """All jobs have ended, and no more come."""
        ...

    def kill(self, ids: Sequence[str]) -> None:
        """End at once, whatever runs; these jobs have not ended."""
        ...


class Batch:
    """Makes the ids of a batch's jobs: the same calls have the same ones, whoever makes them."""

    def __init__(self, name: str) -> None:
        """Raises ConfigError for what is no name."""
        if not 0 < len(name) <= LONGEST or not name.isprintable():
            raise ConfigError(f"batch: {name!r} must be 1 to {LONGEST} printable characters")
        self.name = name
        self._known: Counter[bytes] = Counter()

    def id(self, parts: Sequence[bytes | memoryview]) -> str:
        """For the n-th of equal calls always the same. Not to be called by two threads at once."""
        digest = sha256(self.name.encode())
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        key = digest.digest()
        self._known[key] += 1
        return f"{self.name}-{key.hex()[:40]}-{self._known[key]}"


class _Elsewhere:
    """The workers of an app run its jobs, and go on when the pool has ended."""

    def __init__(self, app: Longboat, batch: Batch | None) -> None:
        self.app = app
        self._batch = batch

    def end(self) -> None:
        """Its workers go on."""

    def kill(self, ids: Sequence[str]) -> None:
        if self._batch is None:  # else they go on
            cancel_all(self.app.client, ids)


class ByName(_Elsewhere):
    """Functions and tasks of an app: each call is a job of its own."""

    chunked = False

    def send(self, fn: Callable[..., Any], chunks: Sequence[Sequence[Call]], expect: Expect) -> None:
        task = self.app.task_of(fn)
        ids = None
        if self._batch is not None:
            parts = [(task.name.encode(), task.arguments.encode(*calls[0])) for calls in chunks]
            ids = [self._batch.id(some) for some in parts]
        handles = put(task, [calls[0] for calls in chunks], ids)
        expect([Sent(handle, partial(_only, handle)) for handle in handles])


class ByWay(_Elsewhere):
    """Packed calls for the workers of an app that runs signed ones."""

    chunked = True

    def __init__(self, app: Longboat, task: Task[..., Any], way: Way, batch: Batch | None) -> None:
        super().__init__(app, batch)
        self._task = task
        self._way = way

    def send(self, fn: Callable[..., Any], chunks: Sequence[Sequence[Call]], expect: Expect) -> None:
        some = [self._way.packed(fn, calls) for calls in chunks]
        ids = None if self._batch is None else [self._batch.id(packed.identity) for packed in some]
        handles = put(self._task, [((packed.data,), {}) for packed in some], ids)
        expect([_sent(handle, self._way, packed) for handle, packed in zip(handles, some, strict=True)])


class Within:
    """Packed calls for the worker of this program."""

    chunked = True

    def __init__(self, private: Private, task: Task[..., Any], way: Way, batch: Batch | None) -> None:
        self._private = private
        self.app = private.app
        self._task = task
        self._way = way
        self._batch = batch

    def send(self, fn: Callable[..., Any], chunks: Sequence[Sequence[Call]], expect: Expect) -> None:
        some = [self._way.packed(fn, calls) for calls in chunks]
        self._private.start()
        for part in portions(some, PUT, lambda packed: len(packed.data)):
            self._send(part, expect)

    def _send(self, some: Sequence[Packed], expect: Expect) -> None:
        """They are expected before they are stored: in memory, a result is gone once it was told."""
        jobs = [self._job(packed) for packed in some]
        client, task = self.app.client, self._task
        handles: list[Handle[bytes]] = [Handle(client, job.id, job.task, task.kind) for job in jobs]
        kept = [packed._replace(data=b"", identity=()) for packed in some]  # the broker has the data
        undo = expect([_sent(handle, self._way, packed) for handle, packed in zip(handles, kept, strict=True)])
        try:
            client.send(Outgoing(jobs))
        except BaseException:
            undo()
            raise

    def _job(self, packed: Packed) -> Job:
        job, _ = self._task.new((packed.data,), {})
        if self._batch is not None:
            job.id = self._batch.id(packed.identity)
        return job

    def end(self) -> None:
        self._private.close()

    def kill(self, ids: Sequence[str]) -> None:  # noqa: ARG002  # those of a batch stay in its file, others go with it
        self._private.close(grace=0.0)


def _sent(handle: Handle[bytes], way: Way, packed: Packed) -> Sent:
    return Sent(handle, lambda: way.opened(_value(handle), packed), packed.drop)


def put(task: Task[..., Any], calls: Sequence[Call], ids: Sequence[str] | None) -> list[Handle[Any]]:
    """Enqueue the calls together; a call whose id is known gets the handle of that job."""
    keys: dict[str, UniqueKey] = {}

    def made(place: int) -> Job:
        job, key = task.new(*calls[place])
        if ids is not None:
            job.id, job.keep = ids[place], max(job.keep, KEEP)
        if key is not None:
            keys[job.id] = key
        return job

    batches = portions(map(made, range(len(calls))), PUT, lambda job: len(job.payload))
    first = next(batches, [])
    second = next(batches, None)
    if second is None:
        return task.sender().send(Outgoing(first, task.kind, keys=keys, connection=task.template.connection))
    many = Outgoing([], task.kind, batches=chain((first, second), batches), keys=keys, connection=task.template.connection)
    return task.sender().send(many)


def _only(handle: Handle[Any]) -> list[Any]:
    return [_value(handle)]


def _value(handle: Handle[Any]) -> Any:
    try:
        return value_of(handle)
    except JobFailed as error:
        raise again(error)  # noqa: B904  # it is the cause already, where it is another one
