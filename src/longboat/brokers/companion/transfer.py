"""CompanionTransfer: jobs leave for another broker, and come from one. The KV says where a job is, not its messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from longboat.brokers.companion.entries import BACK, HELD, OVER, Claim, PutRecord, hashed, key, parents_of
from longboat.brokers.companion.imports import Import
from longboat.brokers.companion.intake import Intake
from longboat.brokers.companion.ledger import Ledger, Seen, encode
from longboat.brokers.companion.marks import (
    AWAY,
    PACKED,
    SEALED,
    ExportBatch,
    batch_key,
    give_up,
    left_alone,
    marked,
    put_back,
)
from longboat.contract.broker import DEAD_KEPT
from longboat.contract.carrier import NEVER, Carrier, Place
from longboat.contract.kv import Entry
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core.codec import decode_failures, decoded
from longboat.core.job import Job, State, new_id, order_of
from longboat.core.views import job_or_none

TRIES = 5
"""How often a batch is begun that others give up, who look what was left half done."""


class Choice(msgspec.Struct):
    """A job that may leave."""

    seen: Seen
    claim: Claim | None
    """As it is put back if the job does not leave after all."""
    exported: ExportedJob


class CompanionTransfer:
    def __init__(self, ledger: Ledger, carrier: Carrier, intake: Intake) -> None:
        self._ledger = ledger
        self._carrier = carrier
        self._intake = intake

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        for _ in range(TRIES):
            (raw,) = self._ledger.read([batch_key(name)])
            batch = decoded(raw, ExportBatch)
            if batch is not None and batch.stage != SEALED:
                give_up(self._ledger, batch, raw)
            if batch is None or batch.stage != SEALED:
                choices = self._choices(ids)
                if not choices:
                    return []
                batch = self._seal(name, choices)
            if batch is not None:
                exported_jobs = self._exported_jobs(batch)
                self._take_leave(batch, exported_jobs)
                return exported_jobs
        return []

    def unconfirmed(self) -> list[str]:
        """Also puts back what was taken by half."""
        names: list[str] = []
        for _, raw in self._ledger.between("b/", "b0"):
            batch = decoded(raw, ExportBatch)
            if batch is None:
                continue
            if batch.stage == SEALED:
                names.append(batch.name)
            else:
                give_up(self._ledger, batch, raw)
        return sorted(names)

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        self._carrier.check({job.queue for job in exported_jobs})
        return Import(self._ledger, self._carrier, self._intake, name, exported_jobs)()

    def confirm(self, name: str) -> None:
        (raw,) = self._ledger.read([batch_key(name)])
        batch = decoded(raw, ExportBatch)
        if batch is not None and batch.stage == SEALED:
            self._take_leave(batch, self._exported_jobs(batch))
            pieces = [Entry(f"y/{hashed(batch.mark)}/{n}", None) for n in range(batch.pieces)]
            self._ledger.write([Entry(batch_key(name), None), *pieces])

    # --- choosing

    def _choices(self, ids: Sequence[str]) -> list[Choice]:
        """Those of these jobs that may leave, as many as there is room for."""
        found: list[Choice] = []
        room, now = ROOM, self._ledger.now()
        all_seen = self._ledger.look(list(dict.fromkeys(ids)))
        gone = {holder: not self._carrier.connected(holder) for holder in {*map(_silent, all_seen)} - {""}}
        for each in all_seen:
            seen = left_alone(self._ledger, each.id) if marked(each.claim) else each
            if not _may_leave(seen, gone):
                continue
            message = self._ledger.message(seen)
            job = job_or_none(message)
            if (job is None and seen.end is None) or (job is not None and parents_of(job.constraints)):
                continue
            claim = seen.given_back(now)
            exported = _exported(seen, claim, job, message, now)
            room -= len(message) + sum(len(each.message) + len(each.traceback) for each in exported.failures)
            if room < 0 and found:
                break
            found.append(Choice(seen, claim, exported))
        return found

    # --- sealing

    def _seal(self, name: str, choices: Sequence[Choice]) -> ExportBatch | None:
        """Take these jobs, those that nobody has meanwhile; None: another gave the batch up, or began one of its name."""
        batch = ExportBatch(name, new_id(), [each.seen.id for each in choices])
        opening = encode(batch)
        fresh = [each for each in choices if each.seen.claim_raw is None]
        marks = [_marking(batch, each) for each in fresh]
        began, *added = self._ledger.put_if_absent([Entry(batch_key(name), opening), *marks])
        taken = {each.seen.id for each, mine in zip(fresh, added, strict=True) if mine}
        if not began:
            put_back(self._ledger, batch.mark, taken)
            return None
        for each in choices:
            if each.seen.claim_raw is not None and self._ledger.compare_and_set(_marking(batch, each), each.seen.claim_raw):
                taken.add(each.seen.id)
        followed = self._followed(taken)
        exported_jobs = [each.exported for each in choices if each.seen.id in taken - followed]
        if not exported_jobs:
            give_up(self._ledger, batch, opening)
            return batch
        batch.stage, batch.taken = SEALED, [exported.id for exported in exported_jobs]
        batch.exported_jobs, large = self._ledger.split("y", batch.mark, encode(exported_jobs))
        batch.pieces = len(large)
        self._ledger.write(large)
        if not self._ledger.compare_and_set(Entry(batch_key(name), encode(batch)), opening):
            self._ledger.write([Entry(entry.key, None) for entry in large])
            put_back(self._ledger, batch.mark, taken)
            return None
        return batch

    def _followed(self, ids: Iterable[str]) -> set[str]:
        """Others wait for these."""
        names = list(ids)
        told = self._ledger.read([key("f", name) for name in names])
        return {name for name, raw in zip(names, told, strict=True) if raw == b"1"}

    # --- taking leave

    def _exported_jobs(self, batch: ExportBatch) -> list[ExportedJob]:
        raw = self._ledger.whole("y", batch.mark, batch.exported_jobs, batch.pieces)
        return decoded(raw, list[ExportedJob]) or []

    def _take_leave(self, batch: ExportBatch, exported_jobs: Sequence[ExportedJob]) -> None:
        """What follows of the seal; of jobs whose claims are still marked, since the others may have come back.

        Messages are dropped where they lie, which spares workers from dropping them one by one. What is not found, in
        delay queues say, is dropped when it comes.
        """
        by_id = {exported.id: exported for exported in exported_jobs}
        put_back(self._ledger, batch.mark, [name for name in batch.ids if name not in by_id])
        wanted: dict[Place, list[str]] = {}
        for seen in self._marked(batch):
            exported = by_id[seen.id]
            if exported.dead or not exported.delay:
                wanted.setdefault((exported.queue, None if exported.dead else exported.priority), []).append(seen.id)
        if wanted:
            with self._carrier.look(wanted) as look:  # what it finds is of before: a job may have gone and come back since
                confirmed = {seen.id for seen in self._marked(batch)}
                look.acknowledge([each for each in look.found if each.id in confirmed])
        self._ledger.write([entry for seen in self._marked(batch) for entry in _farewell(seen, by_id[seen.id])])

    def _marked(self, batch: ExportBatch) -> list[Seen]:
        """Those of its jobs that have not left yet."""
        seen = self._ledger.look(batch.taken)
        return [each for each in seen if each.claim and marked(each.claim) and batch.mark in each.claim.copies]


def _marking(batch: ExportBatch, choice: Choice) -> Entry:
    before = encode(choice.claim) if choice.claim is not None else b""
    return Entry(key("c", choice.seen.id), encode(Claim(OVER, [batch.mark], batch.name, PACKED, why=before)))


def _silent(seen: Seen) -> str:
    """The consumer that holds it and shows no heartbeat."""
    claim = seen.claim
    return claim.holder if claim is not None and claim.kind == HELD and not seen.alive and not seen.asked else ""


def _may_leave(seen: Seen, gone: Mapping[str, bool]) -> bool:
    """`gone`: of consumers without a heartbeat, whether their messages have come back."""
    claim, put_record = seen.claim, seen.put_record
    if seen.end is not None:  # of the dead, those whose end is written to the last entry
        return seen.end.state is State.DEAD and (claim is None or (claim.kind == OVER and not claim.worker))
    if put_record is None or put_record.over or put_record.waits:
        return False
    if claim is not None and claim.kind == HELD:
        return gone.get(_silent(seen), False)
    return claim is None or claim.kind == BACK


def _exported(seen: Seen, claim: Claim | None, job: Job | None, message: bytes, now: float) -> ExportedJob:
    exported = ExportedJob(seen.id, message, seen.queue, job.priority if job else 0)
    if seen.end is not None:
        exported.dead, exported.attempts, exported.failures = True, seen.end.attempts, seen.end.failures
        return exported
    put_record = seen.put_record or PutRecord(seen.id, seen.queue)
    exported.delay = max(0.0, (claim.due if claim else put_record.due) - now)
    if claim is not None:
        exported.attempts, exported.worker_deaths = claim.attempts, claim.worker_deaths
        exported.failures = decode_failures(claim.failures)
    retried = claim is not None and claim.at > 0 and not claim.holder
    if job and job.expires is not None and put_record.put < NEVER and not exported.attempts and not retried:
        exported.expires = put_record.put + job.expires - now
    return exported


def _farewell(seen: Seen, exported: ExportedJob) -> list[Entry]:
    """The entries by which a job that was taken is gone: its messages are dropped, its id is known, and may come back."""
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
