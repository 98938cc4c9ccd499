"""Results off the server: looked up by id, or pushed to listeners."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Collection, Iterable, Sequence

from longboat.brokers.redis.keys import SIZE, key_of
from longboat.brokers.redis.server import SHORTEST, Server, WaitingConnection
from longboat.brokers.redis.views import STATES, looked_up, result
from longboat.contract.base import BaseListener
from longboat.contract.base_pages import batches
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Result, State
from longboat.core.portions import BYTES
from longboat.core.views import result_of
from longboat.errors import BrokerError

_BATCH = 1000
_HEAD = struct.Struct(">IH")


class RedisResults:
    """Results are kept by the settling itself, for each job's `keep` seconds."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        keys = [key_of(job_id) for job_id in ids]
        return list(map(result, keys, ids, looked_up(self._server, keys)))

    def listen(self) -> RedisListener:
        return RedisListener(self._server)


class RedisListener(BaseListener):
    """A list on the server that results are pushed to."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self._connection = WaitingConnection(server)
        self._ids: dict[bytes, str] = {}
        """Of the watched jobs, by their keys."""
        self._pushed: list[bytes] = []
        """Taken out of the list, and not told yet."""
        self._mean = 0
        """Bytes of a result among those that came last."""
        self._unsure = False
        """The server may have forgotten what is watched, or an answer of it was lost."""
        self._open_list()

    def _open_list(self) -> None:
        self._id = os.urandom(8).hex()
        self._list = self._server.key(f"inbox:{self._id}")

    def watch(self, ids: Sequence[str]) -> None:
        keys = {key_of(job_id): job_id for job_id in ids}
        with self._lock:
            self._watched.update(ids)
            self._ids.update(keys)
        try:
            self._call("watch", self._id, list(keys))
        except BrokerError:
            self._unsure = True
            super().forget(ids)
            raise

    def forget(self, ids: Sequence[str]) -> None:
        super().forget(ids)
        with contextlib.suppress(BrokerError):  # a result that comes nevertheless is not told
            self._call("unwatch", self._id, list(map(key_of, ids)))

    def wait(self, timeout: float) -> list[Result]:
        try:
            return super().wait(timeout)
        except BrokerError:
            self._unsure = True
            self._mean = BYTES  # perhaps there were too many at once
            raise

    def _hear(self, until: float) -> list[Result]:
        while not self._closed:
            if not self._woken:
                self._wait(until)
            results = self._news()
            if results or self._woken or SYSTEM.monotonic() >= until:
                return results
        return []

    def _wait(self, until: float) -> None:
        if self._unsure:
            self._begin_again()
        seconds = max(SHORTEST, min(until - SYSTEM.monotonic(), self._server.slice))
        popped = self._connection.command("BLPOP", self._list, f"{seconds:.3f}")
        if popped:
            self._pushed.append(popped[1])
            size = max(len(popped[1]), self._mean)
            if len(self._watched) > 1:  # more may have come with it
                more = self._connection.command("LPOP", self._list, max(1, min(_BATCH, BYTES // (1 + size)))) or ()
                self._pushed += more
                self._mean = sum(map(len, more)) // max(1, len(more))

    def _look(self, fresh: Collection[str]) -> Iterable[Result]:  # noqa: ARG002  # the server pushes these too
        pushed, self._pushed = self._pushed, []
        return [found for raw in pushed if (found := self._read(raw))]

    def _read(self, raw: bytes) -> Result | None:
        job_id = self._ids.get(raw[:SIZE])
        if job_id is None:
            return None
        state = STATES[raw[SIZE : SIZE + 1]]
        attempts, size = _HEAD.unpack_from(raw, SIZE + 1)
        at = SIZE + 1 + _HEAD.size
        task, value = raw[at : at + size].decode(errors="replace"), raw[at + size :]
        failures = () if state is State.SUCCEEDED else codec.decode_failures(b"\x91" + value)
        return result_of(job_id, state, value=value, failures=failures, task=task, attempts=attempts)

    def _unwatch(self, ids: Collection[str]) -> None:
        super()._unwatch(ids)
        for job_id in ids:
            self._ids.pop(key_of(job_id), None)

    def _ring(self) -> None:
        with contextlib.suppress(BrokerError):  # then the wait ends within a second by itself
            self._server.command("RPUSH", self._list, "wake")

    def _end(self) -> None:
        with self._waiting:
            self._connection.close()
        self.forget(list(self._watched))
        with contextlib.suppress(BrokerError):
            self._server.command("DEL", self._list)

    def _begin_again(self) -> None:
        """With another list, since a wait that comes late at the server could still take results out of the old one."""
        before, old_list = self._id, self._list
        self._open_list()
        with self._lock:
            keys = list(self._ids)
        self._call("watch", self._id, keys)
        self._unsure = False
        self._call("unwatch", before, keys)
        self._server.command("DEL", old_list)

    def _call(self, name: str, listener: str, keys: list[bytes]) -> None:
        for part in batches(keys, _BATCH):
            self._server.call(name, listener, *part)
