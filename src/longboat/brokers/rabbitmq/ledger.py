"""Ledger: the notes of one broker's jobs on the board of the store beside it, read and written in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from longboat.brokers.rabbitmq.entries import (
    BACK,
    HELD,
    OVER,
    Claim,
    End,
    PutRecord,
    WorkerPresence,
    children,
    dependency_edges,
    hashed,
    key,
    pair,
)
from longboat.brokers.rabbitmq.envelope import Envelope
from longboat.contract.broker import DEAD_KEPT, FORGOTTEN_AFTER
from longboat.contract.kv import ENTRY_LIMIT, KV, Entry
from longboat.core.codec import decode_failures, decode_job
from longboat.core.job import DEFAULT_KEEP, Failure, Job, Result, State, order_of
from longboat.core.views import JobView
from longboat.errors import Undecodable

T = TypeVar("T")

INLINE = 400_000
"""Bytes of a message or result that stand within a note; larger ones have notes of their own."""

TWICE = 600.0
"""Seconds that an ended job is known at least, since a second message of it may be on its way."""

encode = msgspec.msgpack.encode


class Seen(msgspec.Struct):
    """All that is known of a job at a look."""

    id: str
    put_record: PutRecord | None
    claim: Claim | None
    end: End | None
    put_raw: bytes | None = None
    claim_raw: bytes | None = None
    alive: bool = False
    """Whether the heart of who holds it beats."""
    asked: bool = False
    """Whether its cancellation was asked for."""
    started: bool = False
    """Whether who holds it noted that it has started."""

    def state(self, now: float) -> State | None:
        """None: it is gone, or was never here."""
        put_record, claim, end = self.put_record, self.claim, self.end
        if end is not None:
            return end.state if now < end.ended + end.keep else None
        if put_record is None or put_record.over or (claim and claim.kind == OVER):
            return None
        if claim is not None and claim.kind == HELD:
            return State.RUNNING if self.alive or self.asked else State.READY
        due = claim.due if claim else put_record.due
        if put_record.waits or (claim and claim.parked > now):
            return State.WAITING
        return State.SCHEDULED if due > now else State.READY


class Ledger:
    def __init__(self, kv: KV, prefix: str) -> None:
        self.kv = kv
        self.namespace = f"rabbitmq {prefix}"

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        return self.kv.read(self.namespace, keys) if keys else []

    def read_as(self, kind: type[T], keys: Sequence[str]) -> list[T | None]:
        return [opened(kind, raw) for raw in self.read(keys)]

    def write(self, entries: Sequence[Entry]) -> None:
        if entries:
            self.kv.write(self.namespace, entries)

    def put_if_absent(self, entries: Sequence[Entry]) -> list[bool]:
        return self.kv.put_if_absent(self.namespace, entries) if entries else []

    def compare_and_set(self, entry: Entry, old: bytes | None) -> bool:
        return self.kv.compare_and_set(self.namespace, entry, old=old)

    def between(self, after: str, before: str) -> Iterator[tuple[str, bytes]]:
        while found := self.kv.entries(self.namespace, after=after, before=before):
            yield from found
            after = found[-1][0]

    def split(self, kind: str, name: str, data: bytes, keep: float | None = None) -> tuple[bytes, list[Entry]]:
        """What stands within a note, and the notes for what is too large for that."""
        if len(data) <= INLINE:
            return data, []
        cuts = range(0, len(data), ENTRY_LIMIT)
        return b"", [Entry(f"{kind}/{hashed(name)}/{n}", data[at : at + ENTRY_LIMIT], keep) for n, at in enumerate(cuts)]

    def whole(self, kind: str, name: str, inline: bytes, pieces: int) -> bytes:
        if not pieces:
            return inline
        return b"".join(part or b"" for part in self.read([f"{kind}/{hashed(name)}/{n}" for n in range(pieces)]))

    # --- looking

    def look(self, ids: Sequence[str]) -> list[Seen]:
        keys = [key(kind, each) for each in ids for kind in "mce"]
        raws = iter(self.read(keys))
        seen = []
        for each in ids:
            put_record, claim, end = next(raws), next(raws), next(raws)
            seen.append(Seen(each, opened(PutRecord, put_record), opened(Claim, claim), opened(End, end), put_record, claim))
        held = [(each, each.claim) for each in seen if each.claim and each.claim.kind == HELD and not each.end]
        if held:
            told = iter(
                self.read(
                    [
                        name
                        for each, claim in held
                        for name in (
                            key("p", claim.holder),
                            pair("a", claim.holder, each.id),
                            pair("s", claim.holder, each.id),
                        )
                    ]
                )
            )
            for of, _ in held:
                of.alive, of.asked, of.started = (next(told) is not None for _ in range(3))
        return seen

    def message(self, seen: Seen) -> bytes:
        """The job as it was put; b"" where it is gone."""
        if seen.end is not None:
            return self.whole("g", seen.id, seen.end.message, seen.end.pieces)
        if seen.put_record is not None:
            return self.whole("g", seen.id, seen.put_record.message, seen.put_record.pieces)
        return b""

    def view(self, seen: Seen, now: float) -> JobView | None:
        state = seen.state(now)
        if state is None:
            return None
        message = self.message(seen)
        try:
            job = decode_job(message)
        except Undecodable:
            raw = seen.end or End(seen.id, state, "", now, 0.0)
            return JobView(seen.id, state, raw.queue, "", 0, 0, message, ended=raw.ended, failures=raw.failures)
        claim, end, put_record = seen.claim, seen.end, seen.put_record
        view = JobView(seen.id, state, job.queue, job.task, job.priority, claim.attempts if claim else 0, job.payload)
        view.enqueued, view.constraints, view.headers = job.enqueued, job.constraints, job.headers
        if end is not None:
            view.attempts, view.started, view.ended, view.failures = end.attempts, end.started, end.ended, end.failures
            view.result = self.result(end)
            return view
        if claim is not None:
            view.failures = decode_failures(claim.failures)
        if state is State.RUNNING and claim is not None:
            view.started, view.worker = claim.at, claim.worker
        if state is State.SCHEDULED:
            view.due = claim.due if claim else put_record.due if put_record else None
        return view

    def result(self, end: End) -> bytes | None:
        return None if end.result is None else self.whole("q", end.id, end.result, end.result_pieces)

    def outcome(self, end: End) -> Result:
        failure = None if end.state is State.SUCCEEDED or not end.failures else end.failures[-1]
        return Result(end.id, end.state, self.result(end), failure, end.task, end.attempts)

    # --- ending

    def ended(
        self, job: Job, state: State, by: str, *, attempts: int, failures: list[Failure], result: bytes | None = None
    ) -> End:
        keep = DEAD_KEPT if state is State.DEAD else job.keep if state is State.SUCCEEDED else job.keep or DEFAULT_KEEP
        return End(job.id, state, by, time.time(), keep, attempts, failures, result, queue=job.queue, task=job.task)

    def finish(self, ends: Sequence[tuple[End, bytes]]) -> tuple[list[bool], list[bool]]:
        """Have these jobs end, of which these are the messages. Tells which of the ends hold, and which have followers."""
        entries: list[Entry] = []
        places = []
        for end, message in ends:
            keep = end.keep if end.keep > 0 else TWICE / 10
            end.message, large = self.split("g", end.id, message, keep)
            end.pieces = len(large)
            if end.result is not None:
                end.result, parts = self.split("q", end.id, end.result, keep)
                end.result_pieces = len(parts)
                large += parts
            places.append(len(entries))
            entries += [Entry(key("e", end.id), encode(end), keep), Entry(key("f", end.id), b"", keep), *large]
        added = self.put_if_absent(entries)
        hold = [added[at] for at in places]
        if not all(hold):
            there = self.read_as(End, [key("e", end.id) for end, _ in ends])
            hold = [kept is not None and kept.by == end.by for kept, (end, _) in zip(there, ends, strict=True)]
        return hold, [not added[at + 1] for at in places]

    def entered(self, job: Job, message: bytes, now: float) -> list[Entry]:
        """The notes of a job that is put."""
        inline, large = self.split("g", job.id, message)
        put_record = PutRecord(
            job.id, job.queue, inline, len(large), now, now + job.delay, bool(dependency_edges(job.constraints))
        )
        return [Entry(key("m", job.id), encode(put_record)), *large]

    def forget(self, job: Job, end: End | None, *, queued: bool = False, pieces: int = 0) -> list[Entry]:
        """The notes by which its id stays known for as long as it must, and all else about it goes.

        `queued`: its message is still in a queue, and is to be dropped when it comes.
        """
        keep = end.keep if end else 0.0
        late = max(0.0, job.delay) + DEAD_KEPT if queued else TWICE
        entries = [Entry(key("c", job.id), encode(Claim(OVER, [])), max(keep, late))]
        if end is None or end.state is not State.DEAD:  # the dead may be revived, and their followers wait on
            entries.append(Entry(key("f", job.id), None))
        known = max(keep, FORGOTTEN_AFTER) if order_of(job.id) is None else keep
        put_record = encode(PutRecord(job.id, job.queue, over=True)) if known > 0 else None
        entries.append(Entry(key("m", job.id), put_record, known if known > 0 else None))
        if end is None or end.state is not State.DEAD:
            for parent in dependency_edges(job.constraints):
                entries += [Entry(pair("i", job.id, parent), None), Entry(pair("w", job.id, parent), None)]
        if end is None and pieces:
            entries += [Entry(f"g/{hashed(job.id)}/{n}", None) for n in range(pieces)]
        return entries

    def consumers(self) -> Iterator[tuple[str, WorkerPresence]]:
        for name, raw in self.between("p/", "p0"):
            worker_presence = opened(WorkerPresence, raw)
            if worker_presence is not None and worker_presence.deadline > time.time():
                yield name[2:], worker_presence

    def holdings(self, consumer: str) -> list[Seen]:
        """The jobs that this consumer has claimed and not given up."""
        names: list[str] = []
        for _, raw in self.between(f"h/{consumer}/", f"h/{consumer}0"):
            names += msgspec.msgpack.decode(raw)
        seen = self.look(list(dict.fromkeys(names)))
        return [each for each in seen if holds(each, consumer)]

    def asked(self, consumer: str) -> set[str]:
        return {raw.decode() for _, raw in self.between(*children("a", consumer))}


def holds(seen: Seen, consumer: str) -> bool:
    claim = seen.claim
    return claim is not None and claim.kind == HELD and claim.holder == consumer and seen.end is None


def back(claim: Claim, failure: Failure, *, started: bool) -> Claim:
    """What a dead consumer held: one more return, and charged if it had started."""
    new = msgspec.structs.replace(claim, kind=BACK, worker_deaths=claim.worker_deaths + 1, due=0.0, parked=0.0)
    if started:
        new.attempts += 1
        new.failures = Envelope(failures=claim.failures).failed(msgspec.structs.replace(failure, attempt=new.attempts))
    return new


def opened(kind: type[T], raw: bytes | None) -> T | None:
    return None if raw is None else msgspec.msgpack.decode(raw, type=kind)
