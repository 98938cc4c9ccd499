"""Packing: jobs leave for another broker. It takes their claims on the board, so that their messages are dropped.

A batch is open at first: it marks the claims that it takes, and what a mark means is what the batch says. It is sealed by
one swap of its note, which then holds the parcels: from that moment on all of them are taken, before none. A batch that is
not to be sealed is given up by a swap as well; then its claims are put back as they were, by whoever comes upon them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from longboat.brokers.rabbitmq.entries import BACK, HELD, OVER, Claim, PutRecord, dependency_edges, hashed, key
from longboat.brokers.rabbitmq.ledger import Ledger, Seen, back, encode, opened
from longboat.contract.broker import DEAD_KEPT
from longboat.contract.kv import Entry
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core.codec import decode_failures, decode_job
from longboat.core.job import Failure, Job, State, new_id, order_of
from longboat.core.reasons import WORKER_DIED
from longboat.errors import Undecodable

PACKED, AWAY = "packed", "away"
"""What a claim says in place of its worker: marked by the batch that it names, and gone for good; the job may come back."""

NEVER = 1e10
"""A time of putting from which no job expires."""

PATIENCE = 1.0
"""Seconds that an open batch may hold up whoever receives a job of it; then it is given up."""

_PAUSE = 0.005


OPEN, SEALED, GIVEN_UP = range(3)


class ExportBatch(msgspec.Struct, array_like=True):
    name: str
    mark: str
    ids: list[str]
    """Those that may bear its mark."""
    stage: int = OPEN
    taken: list[str] = []
    """Once it is sealed, those of its parcels."""
    exported_jobs: bytes = b""
    pieces: int = 0


class Choice(msgspec.Struct):
    """A job that may leave."""

    seen: Seen
    claim: Claim | None
    """As it is put back if the job does not leave after all."""
    exported: ExportedJob


def marked(claim: Claim | None) -> bool:
    return claim is not None and claim.worker == PACKED and claim.kind == OVER


def away(claim: Claim | None) -> bool:
    return claim is not None and claim.worker == AWAY and claim.kind == OVER


def left_alone(ledger: Ledger, name: str) -> Seen:
    """This job once no batch is about to take it: its claim is as it was, or it is taken for good."""
    deadline = time.monotonic() + PATIENCE
    while True:
        (seen,) = ledger.look([name])
        claim = seen.claim
        if claim is None or not marked(claim):
            return seen
        (raw,) = ledger.read([batch_key(claim.holder)])
        batch = opened(ExportBatch, raw)
        if batch is not None and batch.mark in claim.copies and name in batch.taken:
            return seen
        if batch is None or batch.mark not in claim.copies or batch.stage != OPEN:
            _put_back(ledger, seen)
        elif time.monotonic() < deadline:
            time.sleep(_PAUSE)
        else:
            give_up(ledger, batch, raw)


def give_up(ledger: Ledger, batch: ExportBatch, raw: bytes | None) -> None:
    """A batch that is not sealed, and whose note is `raw`: its jobs are as before. Harmless for one sealed meanwhile."""
    if batch.stage == OPEN:
        over = encode(msgspec.structs.replace(batch, stage=GIVEN_UP))
        if not ledger.compare_and_set(Entry(batch_key(batch.name), over), raw):
            return
        raw = over
    put_back(ledger, batch.mark, batch.ids)
    ledger.compare_and_set(Entry(batch_key(batch.name), None), raw)


def put_back(ledger: Ledger, mark: str, ids: Iterable[str]) -> None:
    """The claims of these jobs, where they bear this mark."""
    for seen in ledger.look(list(ids)):
        if seen.claim is not None and marked(seen.claim) and mark in seen.claim.copies:
            _put_back(ledger, seen)


def _put_back(ledger: Ledger, seen: Seen) -> None:
    if seen.claim is not None:
        before = seen.claim.why or None
        keep = DEAD_KEPT if seen.end is not None else None
        ledger.compare_and_set(Entry(key("c", seen.id), before, keep), seen.claim_raw)


def batch_key(name: str) -> str:
    return f"b/{hashed(name)}"


def decoded(message: bytes) -> Job | None:
    try:
        return decode_job(message)
    except Undecodable:
        return None


class Packing:
    """One batch on its way out."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        self._name = name
        self._mark = new_id()

    def seal(self, choices: Sequence[Choice]) -> ExportBatch | None:
        """Take these jobs, those that nobody has meanwhile; None: another gave the batch up, or began one of its name."""
        batch = ExportBatch(self._name, self._mark, [each.seen.id for each in choices])
        opening = encode(batch)
        fresh = [each for each in choices if each.seen.claim_raw is None]
        marks = [self._marking(each) for each in fresh]
        began, *added = self._ledger.put_if_absent([Entry(batch_key(self._name), opening), *marks])
        taken = {each.seen.id for each, mine in zip(fresh, added, strict=True) if mine}
        if not began:
            put_back(self._ledger, self._mark, taken)
            return None
        for each in choices:
            if each.seen.claim_raw is not None and self._ledger.compare_and_set(self._marking(each), each.seen.claim_raw):
                taken.add(each.seen.id)
        followed = self._followed(taken)
        exported_jobs = [each.exported for each in choices if each.seen.id in taken - followed]
        if not exported_jobs:
            give_up(self._ledger, batch, opening)
            return batch
        batch.stage, batch.taken = SEALED, [exported.id for exported in exported_jobs]
        batch.exported_jobs, large = self._ledger.split("y", self._mark, encode(exported_jobs))
        batch.pieces = len(large)
        self._ledger.write(large)
        if not self._ledger.compare_and_set(Entry(batch_key(self._name), encode(batch)), opening):
            self._ledger.write([Entry(entry.key, None) for entry in large])
            put_back(self._ledger, self._mark, taken)
            return None
        return batch

    def _marking(self, choice: Choice) -> Entry:
        before = encode(choice.claim) if choice.claim is not None else b""
        return Entry(key("c", choice.seen.id), encode(Claim(OVER, [self._mark], self._name, PACKED, why=before)))

    def _followed(self, ids: Iterable[str]) -> set[str]:
        """Others wait for these."""
        names = list(ids)
        told = self._ledger.read([key("f", name) for name in names])
        return {name for name, raw in zip(names, told, strict=True) if raw == b"1"}


def choices_of(ledger: Ledger, ids: Sequence[str], gone: Mapping[str, bool]) -> list[Choice]:
    """Those of these jobs that may leave, as many as there is room for. `gone`: of consumers whether they are."""
    found: list[Choice] = []
    room, now = ROOM, time.time()
    for each in ledger.look(list(dict.fromkeys(ids))):
        seen = left_alone(ledger, each.id) if marked(each.claim) else each
        if not _may_leave(seen, gone):
            continue
        message = ledger.message(seen)
        job = decoded(message)
        if (job is None and seen.end is None) or (job is not None and dependency_edges(job.constraints)):
            continue
        claim = seen.claim
        if claim is not None and claim.kind == HELD:
            why = Failure(WORKER_DIED, f"{claim.worker} died while it ran this", at=now, worker=claim.worker)
            claim = back(claim, why, started=seen.started)
        exported = _dead(seen, job, message) if seen.end else _exported(seen, claim, job, message, now)
        room -= len(message) + sum(len(each.message) + len(each.traceback) for each in exported.failures)
        if room < 0 and found:
            break
        found.append(Choice(seen, claim, exported))
    return found


def _may_leave(seen: Seen, gone: Mapping[str, bool]) -> bool:
    claim, put_record = seen.claim, seen.put_record
    if seen.end is not None:  # of the dead, those whose end is written to the last note
        return seen.end.state is State.DEAD and (claim is None or (claim.kind == OVER and not claim.worker))
    if put_record is None or put_record.over or put_record.waits:
        return False
    if claim is not None and claim.kind == HELD:
        return not seen.alive and not seen.asked and gone.get(claim.holder, False)
    return claim is None or claim.kind == BACK


def _dead(seen: Seen, job: Job | None, message: bytes) -> ExportedJob:
    assert seen.end is not None
    end = seen.end
    priority = job.priority if job else 0
    return ExportedJob(seen.id, message, end.queue, priority, dead=True, attempts=end.attempts, failures=end.failures)


def _exported(seen: Seen, claim: Claim | None, job: Job | None, message: bytes, now: float) -> ExportedJob:
    assert seen.put_record is not None
    assert job is not None
    exported = ExportedJob(seen.id, message, job.queue, job.priority)
    due = claim.due if claim else seen.put_record.due
    exported.delay = max(0.0, due - now)
    if claim is not None:
        exported.attempts, exported.worker_deaths = claim.attempts, claim.worker_deaths
        exported.failures = decode_failures(claim.failures)
    retried = claim is not None and claim.at > 0 and not claim.holder
    if job.expires is not None and seen.put_record.put < NEVER and not exported.attempts and not retried:
        exported.expires = seen.put_record.put + job.expires - now
    return exported


def farewell(seen: Seen, exported: ExportedJob) -> list[Entry]:
    """The notes by which a job that was taken is gone: its messages are dropped, its id is known, and may come back."""
    keep = exported.delay + DEAD_KEPT
    put_record = encode(PutRecord(seen.id, exported.queue, over=True)) if order_of(seen.id) is None else None
    pieces = max(seen.put_record.pieces if seen.put_record else 0, seen.end.pieces if seen.end else 0)
    return [
        Entry(key("c", seen.id), encode(Claim(OVER, [], worker=AWAY)), keep),
        Entry(key("m", seen.id), put_record, keep if put_record else None),
        Entry(key("e", seen.id), None),
        Entry(key("f", seen.id), None),
        *(Entry(f"g/{hashed(seen.id)}/{n}", None) for n in range(pieces)),
    ]
