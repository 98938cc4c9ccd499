"""The answer to a claim, made into leases."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from longboat.brokers.redis.keys import SIZE, key_of, split
from longboat.contract.broker import Lease
from longboat.core import codec
from longboat.core.job import MESSAGE_VERSION, Job
from longboat.errors import Undecodable

_jobs = msgspec.msgpack.Decoder(list[Job])
_history = msgspec.msgpack.Decoder(tuple[int, int, list[msgspec.Raw]])
_ARRAY_OF = struct.Struct(">BI").pack
_ARRAY = 0xDD
"""The first byte of a msgpack array of up to 2**32 values: messages in a row become one list of jobs."""
INDEX_BITS = 16
"""A lease's token is the number of its claim, then the index of the lease in the claim."""


class Claimed:
    """Jobs that one claim leased."""

    def __init__(
        self,
        number: int,
        keys: bytes,
        messages: bytes,
        spans: Sequence[bytes | int],
        histories: Sequence[bytes | None] | None,
    ) -> None:
        self.keys = split(keys)
        self._all_keys = keys
        self._messages = messages
        self._first = number << INDEX_BITS
        self._spans = list(zip(spans[::2], spans[1::2], strict=True))
        self._histories = histories

    def key_of(self, token: int) -> bytes:
        return self.keys[token - self._first]

    def together(self) -> list[Lease]:
        """All of them, decoded at once. Raises Undecodable when something is wrong with any."""
        try:
            jobs = _jobs.decode(_ARRAY_OF(_ARRAY, len(self.keys)) + self._messages)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Undecodable(str(error)) from None
        if not self._are_these(jobs):
            raise Undecodable("a message is of another job")
        if self._histories is None:
            return [Lease(job, 1, token) for token, job in enumerate(jobs, self._first)]
        return [self._lease(index, job) for index, job in enumerate(jobs)]

    def separately(self, messages: Sequence[bytes | None]) -> tuple[list[Lease], list[tuple[int, str]]]:
        """Leases of the readable jobs, and the tokens of the others with what is wrong."""
        leases, bad = [], []
        queues = [queue for queue, n in self._spans for _ in range(int(n))]
        for index, (raw, key) in enumerate(zip(messages, self.keys, strict=True)):
            try:
                job = codec.decode_job(raw or b"")
                if key_of(job.id) != key or job.queue.encode(errors="surrogatepass") != queues[index]:
                    raise Undecodable(f"the message is of another job: {job.id!r} of queue {job.queue!r}")
                leases.append(self._lease(index, job))
            except Undecodable as error:
                bad.append((self._first + index, str(error)))
        return leases, bad

    def _are_these(self, jobs: list[Job]) -> bool:
        at = 0
        for queue, n in self._spans:
            name = bytes(queue).decode(errors="surrogateescape") if isinstance(queue, bytes) else ""
            part = jobs[at : at + int(n)]
            if any(job.queue != name or job.v != MESSAGE_VERSION for job in part):
                return False
            at += int(n)
        try:
            generated = bytes.fromhex("".join([job.id[:16] + job.id[25:] for job in jobs]))
        except ValueError:
            generated = b""
        return generated == self._all_keys or b"".join([key_of(job.id) for job in jobs]) == self._all_keys

    def _lease(self, index: int, job: Job) -> Lease:
        token = self._first + index
        raw = self._histories[index] if self._histories is not None else None
        if raw is None:
            return Lease(job, 1, token)
        try:
            attempts, worker_deaths, failures = _history.decode(raw)
        except codec.DECODE_ERRORS as error:
            raise Undecodable(f"what was tried of it cannot be read: {error}") from None
        return Lease(job, attempts + 1, token, worker_deaths, len(failures))


assert SIZE == 12, "the fast way of _are_these knows how generated ids become keys"
