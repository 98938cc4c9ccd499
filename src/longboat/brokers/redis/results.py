"""Results off the server: looked up by id, or pushed to who waits."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Sequence

from longboat.brokers.redis.keys import SIZE, key_of
from longboat.brokers.redis.server import Server, WaitingConnection
from longboat.brokers.redis.views import Ended, job_or_none, last_failure
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Failure, Result, State
from longboat.errors import BrokerError

_SHORTEST = 0.002
_BATCH = 1000
_STATES = {b"s": State.SUCCEEDED, b"d": State.DEAD, b"c": State.CANCELLED}
_HEAD = struct.Struct(">IH")


class RedisResults:
    """Results are kept by the settling itself, for each job's `keep` seconds."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        found: list[Result | None] = []
        for start in range(0, len(ids), _BATCH):
            part = ids[start : start + _BATCH]
            answers = self._server.call("results", *map(key_of, part))
            found += [_result(*pair) for pair in zip(part, answers, strict=True)]
        return found

    def listen(self) -> RedisListener:
        return RedisListener(self._server)


class RedisListener:
    """A list on the server that results are pushed to."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._id = os.urandom(8).hex()
        self._inbox = server.key(f"inbox:{self._id}")
        self._line = WaitingConnection()
        self._waiting = threading.Lock()
        self._lock = threading.Lock()
        self._watched: dict[bytes, str] = {}
        self._unsure = False
        """The server may have forgotten what is watched, or an answer of it was lost."""
        self._woken = False
        self._closed = False

    def watch(self, ids: Sequence[str]) -> None:
        keys = {key_of(job_id): job_id for job_id in ids}
        with self._lock:
            self._watched.update(keys)
        try:
            self._register(list(keys))
        except BrokerError:
            self._unsure = True
            raise

    def forget(self, ids: Sequence[str]) -> None:
        keys = [key_of(job_id) for job_id in ids]
        with self._lock:
            for key in keys:
                self._watched.pop(key, None)
        with contextlib.suppress(BrokerError):  # what comes nevertheless is not given
            for start in range(0, len(keys), _BATCH):
                self._server.call("unwatch", self._id, *keys[start : start + _BATCH])

    def wait(self, timeout: float) -> list[Result]:
        until = SYSTEM.monotonic() + timeout
        due = self._server.slice
        with self._waiting:
            try:
                while not self._closed:
                    if self._unsure:
                        self._begin_anew()
                    left = until - SYSTEM.monotonic()
                    results = [] if self._woken else self._pop(max(_SHORTEST, min(left, due)))
                    if results or self._woken or left <= 0:
                        return results
                    due = self._tend()
            except BrokerError:
                self._unsure = True
                raise
            finally:
                self._woken = False
        return []

    def wake(self) -> None:
        self._woken = True
        with contextlib.suppress(BrokerError):  # then the wait ends within a second by itself
            self._server.command("RPUSH", self._inbox, "wake")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.wake()
        with self._waiting:
            self._line.close()
        self.forget(list(self._watched.values()))
        with contextlib.suppress(BrokerError):
            self._server.command("DEL", self._inbox)

    def _begin_anew(self) -> None:
        """Another inbox, since a wait that comes late at the server could still take results out of this one."""
        before, inbox = self._id, self._inbox
        self._id = os.urandom(8).hex()
        self._inbox = self._server.key(f"inbox:{self._id}")
        with self._lock:
            keys = list(self._watched)
        self._register(keys)
        self._unsure = False
        for start in range(0, len(keys), _BATCH):
            self._server.call("unwatch", before, *keys[start : start + _BATCH])
        self._server.command("DEL", inbox)

    def _register(self, keys: list[bytes]) -> None:
        for start in range(0, len(keys), _BATCH):
            self._server.call("watch", self._id, *keys[start : start + _BATCH])

    def _tend(self) -> float:
        """Do what is due, since there may be no worker to do it; in how many seconds to do it again."""
        due = self._server.call("tend")
        return min(self._server.slice, max(0.01, float(due))) if due else self._server.slice

    def _pop(self, seconds: float) -> list[Result]:
        popped = self._server.command_on(self._line, "BLPOP", self._inbox, f"{seconds:.3f}")
        told = [popped[1]] if popped else []
        if told and len(self._watched) > 1:  # more may have come with it
            told += self._server.command_on(self._line, "LPOP", self._inbox, _BATCH) or []
        return [result for each in told if (result := self._told(each))]

    def _told(self, raw: bytes) -> Result | None:
        with self._lock:
            job_id = self._watched.pop(raw[:SIZE], None)
        if job_id is None:
            return None
        state = _STATES[raw[SIZE : SIZE + 1]]
        attempts, size = _HEAD.unpack_from(raw, SIZE + 1)
        at = SIZE + 1 + _HEAD.size
        task, value = raw[at : at + size].decode(errors="replace"), raw[at + size :]
        if state is State.SUCCEEDED:
            return Result(job_id, state, value, None, task, attempts)
        return Result(job_id, state, None, _failure(value), task, attempts)


def _failure(raw: bytes) -> Failure | None:
    told = codec.decode_failures(b"\x91" + raw)
    return told[0] if told else None


def _result(job_id: str, answer: list[bytes | None] | None) -> Result | None:
    if answer is None:
        return None
    done, history, message = answer
    ended = Ended(done or b"")
    job = job_or_none(message)
    if job is not None and job.id != job_id:
        return None
    task = job.task if job else ""
    if ended.state is State.SUCCEEDED:
        return Result(job_id, ended.state, ended.result, None, task, ended.attempts)
    return Result(job_id, ended.state, None, last_failure(history), task, ended.attempts)
