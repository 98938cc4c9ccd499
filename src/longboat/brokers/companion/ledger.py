"""Ledger: the entries of jobs in the KV, read and written in batches, and what they say together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from longboat.brokers.companion.entries import (
    BACK,
    HELD,
    OVER,
    Claim,
    ConsumerRecord,
    End,
    PutRecord,
    children,
    hashed,
    key,
    pair,
    parents_of,
    timed,
)
from longboat.brokers.companion.layout import Versioned
from longboat.contract.broker import DEAD_KEPT, FORGOTTEN_AFTER
from longboat.contract.carrier import NEVER, Envelope
from longboat.contract.kv import ENTRY_LIMIT, KV, Entry
from longboat.core import reasons
from longboat.core.clock import Clock
from longboat.core.codec import decode_failures, decoded
from longboat.core.job import DEFAULT_KEEP, FAILURES_KEPT, Failure, Job, Result, State, order_of
from longboat.core.views import JobView, job_or_none, job_view, result_of

T = TypeVar("T")

INLINE = 400_000
"""Bytes of a message or result that stand within an entry; larger ones have entries of their own."""

TWICE = 600.0
"""Seconds that an ended job is known at least, since a second message of it may be on its way."""

encode = msgspec.msgpack.encode


class Seen(msgspec.Struct):
    """All that the entries said of a job when it was looked at."""

    id: str
    put_record: PutRecord | None
    claim: Claim | None
    end: End | None
    put_raw: bytes | None = None
    claim_raw: bytes | None = None
    alive: bool = False
    """The heartbeat of its holder lasts."""
    asked: bool = False
    """Its cancellation was requested while it was held."""
    started: bool = False
    """Its holder noted that it has started."""

    @property
    def queue(self) -> str:
        return self.end.queue if self.end else self.put_record.queue if self.put_record else ""

    def state(self, now: float) -> State | None:
        """None: it is gone, or was never here."""
        put_record, claim, end = self.put_record, self.claim, self.end
        if end is not None:
            return end.state if now < end.ended + end.keep else None
        if put_record is None or put_record.over:
            return None
        if claim is not None and claim.kind == OVER:
            if claim.worker:  # it is about to leave for another broker
                return None
            claim = None  # it is about to end: whoever took the claim may have died over it, then it can be taken again
        if claim is not None and claim.kind == HELD:
            return State.RUNNING if self.alive or self.asked else State.READY
        due = claim.due if claim else put_record.due
        if put_record.waits or (claim and claim.parked > now):
            return State.WAITING
        return State.SCHEDULED if due > now else State.READY

    def given_back(self, now: float, failure: Failure | None = None) -> Claim | None:
        """The claim; that of a holder who died as it is once its job came back: one more death, an attempt if it started."""
        claim = self.claim
        if claim is None or claim.kind != HELD:
            return claim
        deaths = claim.worker_deaths + 1
        back = msgspec.structs.replace(claim, kind=BACK, worker_deaths=deaths, at=0.0, due=0.0, parked=0.0)
        if self.started:
            back.attempts += 1
            failure = failure or reasons.worker_died(claim.worker, now)
            back.failures = Envelope(failures=claim.failures).failed(msgspec.structs.replace(failure, attempt=back.attempts))
        return back


class Ledger:
    def __init__(self, kv: KV, namespace: str, clock: Clock) -> None:
        self._kv = Versioned(kv, namespace)
        self.namespace = namespace
        self.clock = clock
        self.now = clock.now
        self._last = 0.0

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        return self._kv.to_read().read(self.namespace, keys) if keys else []

    def read_as(self, kind: type[T], keys: Sequence[str]) -> list[T | None]:
        return [decoded(raw, kind) for raw in self.read(keys)]

    def write(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._kv.to_write().write(self.namespace, entries)

    def put_if_absent(self, entries: Sequence[Entry]) -> list[bool]:
        return self._kv.to_write().put_if_absent(self.namespace, entries) if entries else []

    def compare_and_set(self, entry: Entry, old: bytes | None) -> bool:
        return self._kv.to_write().compare_and_set(self.namespace, entry, old=old)

    def first(self, after: str, before: str, limit: int = 1) -> list[tuple[str, bytes]]:
        return self._kv.to_read().entries(self.namespace, after=after, before=before, limit=limit)

    def between(self, after: str, before: str) -> Iterator[tuple[str, bytes]]:
        while found := self._kv.to_read().entries(self.namespace, after=after, before=before):
            yield from found
            after = found[-1][0]

    def split(self, kind: str, name: str, data: bytes, keep: float | None = None) -> tuple[bytes, list[Entry]]:
        """What stands within an entry, and the entries for what is too large for that."""
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
        raws = iter(self.read([key(kind, each) for each in ids for kind in "mce"]))
        seen = []
        for each in ids:
            put_record, claim, end = next(raws), next(raws), next(raws)
            seen.append(
                Seen(each, decoded(put_record, PutRecord), decoded(claim, Claim), decoded(end, End), put_record, claim)
            )
        held = [(each, each.claim.holder) for each in seen if each.claim and each.claim.kind == HELD and not each.end]
        if held:
            keys = [(key("p", who), pair("a", who, each.id), pair("s", who, each.id)) for each, who in held]
            told = iter(self.read([name for names in keys for name in names]))
            for of, _ in held:
                of.alive, of.asked, of.started = (next(told) is not None for _ in range(3))
        return seen

    def message(self, seen: Seen) -> bytes:
        """The job as it was put; b"" where it is gone."""
        holder = seen.end or seen.put_record
        return self.whole("g", seen.id, holder.message, holder.pieces) if holder is not None else b""

    def view(self, seen: Seen, now: float) -> JobView | None:
        state = seen.state(now)
        if state is None:
            return None
        end, put_record, message = seen.end, seen.put_record, self.message(seen)
        running = state is State.RUNNING
        claim = (seen.claim if running else seen.given_back(now)) or Claim(
            BACK, [], due=put_record.due if put_record else 0.0
        )
        return job_view(
            job_or_none(message),
            message,
            id=seen.id,
            state=state,
            queue=seen.queue,
            attempts=end.attempts if end else claim.attempts,
            failures=end.failures if end else decode_failures(claim.failures),
            due=claim.due if state is State.SCHEDULED else None,
            started=end.started if end else claim.at if running else None,
            ended=end.ended if end else None,
            worker=claim.worker if running else None,
            result=self.result(end) if end else None,
        )

    def result(self, end: End) -> bytes | None:
        return None if end.result is None else self.whole("q", end.id, end.result, end.result_pieces)

    def outcome(self, end: End) -> Result:
        value = self.result(end)
        return result_of(end.id, end.state, value=value, failures=end.failures, task=end.task, attempts=end.attempts)

    # --- consumers

    def consumers(self) -> Iterator[tuple[str, ConsumerRecord]]:
        for name, raw in self.between("p/", "p0"):
            if (record := decoded(raw, ConsumerRecord)) and record.deadline > self.now():
                yield name[2:], record

    def holdings(self, consumer: str) -> list[Seen]:
        """The jobs that this consumer has claimed and not given up."""
        names: list[str] = []
        for _, raw in self.between(f"h/{consumer}/", f"h/{consumer}0"):
            names += decoded(raw, list[str]) or ()
        return [
            each
            for each in self.look(list(dict.fromkeys(names)))
            if each.claim and each.claim.kind == HELD and each.claim.holder == consumer and not each.end
        ]

    def asked(self, consumer: str) -> set[str]:
        """The jobs it holds whose cancellation was requested."""
        return {named(raw) for _, raw in self.between(*children("a", consumer))}

    def forget_consumer(self, consumer: str) -> None:
        """It holds nothing any more."""
        ranges = ((f"h/{consumer}/", f"h/{consumer}0"), children("a", consumer), children("s", consumer))
        names = [name for each in ranges for name, _ in self.between(*each)]
        self.write([Entry(name, None) for name in (key("p", consumer), *names)])

    # --- putting and ending

    def entered(self, job: Job, message: bytes, now: float, *, expires: bool = True) -> list[Entry]:
        """The entries of a job that is put. No two jobs of one client are put at the same time: so they can be sorted."""
        self._last = put = max(now, self._last + 1e-6)
        put = put if expires else NEVER
        inline, large = self.split("g", job.id, message)
        waits = bool(job.constraints and job.constraints.after)
        put_record = PutRecord(job.id, job.queue, inline, len(large), put, now + job.delay, waits)
        return [Entry(key("m", job.id), encode(put_record)), *large]

    def expiry(self, job: Job, past: Envelope | Claim, put: float) -> list[Entry]:
        """What tells when a job expires that is not held."""
        if job.expires is None or past.attempts:
            return []
        return [Entry(timed(put + job.expires, job.id), job.id.encode())]

    def ended(
        self, job: Job, state: State, by: str, *, attempts: int, failures: Sequence[Failure], result: bytes | None = None
    ) -> End:
        keep = DEAD_KEPT if state is State.DEAD else job.keep if state is State.SUCCEEDED else job.keep or DEFAULT_KEEP
        kept = list(failures[-FAILURES_KEPT:])
        return End(job.id, state, by, self.now(), keep, attempts, kept, result, queue=job.queue, task=job.task)

    def finish(self, ends: Sequence[tuple[End, bytes]]) -> tuple[list[bool], list[bool]]:
        """Have these jobs end, of which these are the messages. Tells which of the ends hold, and which have dependents."""
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

    def forget(self, job: Job, end: End | None, *, queued: bool = False, pieces: int = 0) -> list[Entry]:
        """The entries by which its id stays known for as long as it must, and all else about it goes.

        `queued`: its message is still in a queue, and is to be dropped when it comes.
        """
        keep = end.keep if end else 0.0
        late = max(0.0, job.delay) + DEAD_KEPT if queued else TWICE
        entries = [Entry(key("c", job.id), encode(Claim(OVER, [])), max(keep, late))]
        known = max(keep, FORGOTTEN_AFTER) if order_of(job.id) is None else keep
        put_record = encode(PutRecord(job.id, job.queue, over=True)) if known > 0 else None
        entries.append(Entry(key("m", job.id), put_record, known if known > 0 else None))
        if end is None or end.state is not State.DEAD:  # a dead job may be retried, and its dependents wait on
            entries.append(Entry(key("f", job.id), None))
            for parent in parents_of(job.constraints):
                entries += [Entry(pair("i", job.id, parent), None), Entry(pair("w", job.id, parent), None)]
        if end is None:
            entries += [Entry(f"g/{hashed(job.id)}/{n}", None) for n in range(pieces)]
        return entries


def named(raw: bytes) -> str:
    """The id in an entry."""
    return raw.decode(errors="replace")
