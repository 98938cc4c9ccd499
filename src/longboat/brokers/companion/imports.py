"""Import: jobs come from another broker. One `put_if_absent` of entries, all or nothing, then their messages, then the word
that these are published: until then an import of the same name publishes again what nobody has received."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from longboat.brokers.companion.endings import history
from longboat.brokers.companion.entries import BACK, OVER, Claim, End, PutRecord, hashed, key, timed
from longboat.brokers.companion.intake import Intake
from longboat.brokers.companion.ledger import INLINE, Ledger, Seen, encode
from longboat.brokers.companion.marks import away
from longboat.contract.broker import DEAD_KEPT, FORGOTTEN_AFTER
from longboat.contract.carrier import NEVER, Carrier, Envelope, Message, Place
from longboat.contract.kv import Entry
from longboat.contract.messages import message_of
from longboat.contract.transfer import ExportedJob
from longboat.core import reasons
from longboat.core.codec import decode_failures, decoded
from longboat.core.job import Failure, Job, State, new_id
from longboat.core.views import job_or_none

REFUSED = "longboat.Unsupported"


class Arrival(msgspec.Struct, array_like=True):
    """What came under a name."""

    mark: str
    """Of whoever publishes it: what another writes down then does not count."""
    new: list[str]
    done: bool = False


class Import:
    """Of one name."""

    def __init__(
        self, ledger: Ledger, carrier: Carrier, intake: Intake, name: str, exported_jobs: Sequence[ExportedJob]
    ) -> None:
        self._ledger = ledger
        self._carrier = carrier
        self._intake = intake
        self._name = name
        self._key = f"u/{hashed(name)}"
        self._exported_jobs = {exported.id: self._fit(exported) for exported in exported_jobs}

    def __call__(self) -> list[str]:
        while True:
            (raw,) = self._ledger.read([self._key])
            arrival = decoded(raw, Arrival)
            if arrival is not None and arrival.done:
                return list(self._exported_jobs)
            mine = Arrival(new_id(), arrival.new if arrival else [])
            if arrival is None:
                if not self._enter(mine):
                    continue
            elif not self._ledger.compare_and_set(Entry(self._key, encode(mine), DEAD_KEPT), raw):
                continue
            self._publish(mine.new, again=arrival is not None)
            done = Entry(self._key, encode(Arrival(mine.mark, mine.new, True)), FORGOTTEN_AFTER)
            if self._ledger.compare_and_set(done, encode(mine)):
                return mine.new if arrival is None else list(self._exported_jobs)

    def _fit(self, exported: ExportedJob) -> ExportedJob:
        """What cannot be kept here as it is becomes dead, and says why."""
        if exported.dead:
            return exported
        now, carrier = self._ledger.now(), self._carrier
        job = job_or_none(exported.message)
        if job is None:
            why = reasons.undecodable("its message cannot be decoded", now)
        elif job.constraints and (job.constraints.limits or job.constraints.fairness_key):
            why = Failure(REFUSED, f"it has limits or takes turns, which {carrier.name} cannot keep", at=now)
        elif exported.delay > carrier.longest_delay:
            why = Failure(REFUSED, f"{carrier.name} keeps no delay above {carrier.longest_delay / 86400:.0f} days", at=now)
        else:
            return exported
        return msgspec.structs.replace(exported, dead=True, failures=[*exported.failures, why])

    def _enter(self, arrival: Arrival) -> bool:
        """What is new here is known from now on; False: another has begun this name."""
        now = self._ledger.now()
        entries: list[Entry] = []
        for seen, exported in zip(self._ledger.look(list(self._exported_jobs)), self._exported_jobs.values(), strict=True):
            if seen.end is None and (seen.put_record is None or seen.put_record.over) and away(seen.claim):
                arrival.new.append(seen.id)  # its entries are written over then
            elif seen.put_record is None and seen.claim is None and seen.end is None:
                arrival.new.append(seen.id)
                entries += self._entries(exported, now)
        first, *added = self._ledger.put_if_absent([Entry(self._key, encode(arrival), DEAD_KEPT), *entries])
        if not first:
            self._ledger.write([Entry(entry.key, None) for entry, mine in zip(entries, added, strict=True) if mine])
        return first

    def _entries(self, exported: ExportedJob, now: float, *, comes_back: bool = False) -> list[Entry]:
        """Of a job that runs for the first time there is no claim, as after a put."""
        if exported.dead:
            return self._dead_entries(exported, now)
        job = _job(exported)
        message, large = self._ledger.split("g", job.id, exported.message)
        put_record = PutRecord(job.id, job.queue, message, len(large), _put(exported, job, now), now + exported.delay)
        entries = [Entry(key("m", job.id), encode(put_record)), *large]
        if exported.expires is not None:
            entries.append(Entry(timed(now + exported.expires, job.id), job.id.encode()))
        if not comes_back and (exported.attempts or exported.worker_deaths or exported.failures):
            entries.append(Entry(key("c", job.id), encode(self._claim(exported, now))))
        return entries

    def _dead_entries(self, exported: ExportedJob, now: float) -> list[Entry]:
        job = _job(exported)
        message, large = self._ledger.split("g", job.id, exported.message, DEAD_KEPT)
        whole = len(encode(exported.failures)) <= INLINE
        failures = exported.failures if whole else decode_failures(_past(exported).failures)
        end = End(job.id, State.DEAD, self._name, now, DEAD_KEPT, exported.attempts, failures)
        end.queue, end.task, end.message, end.pieces = job.queue, job.task, message, len(large)
        return [
            Entry(key("e", job.id), encode(end), DEAD_KEPT),
            Entry(key("f", job.id), b"", DEAD_KEPT),
            Entry(key("m", job.id), encode(PutRecord(job.id, job.queue, over=True)), DEAD_KEPT),
            Entry(key("c", job.id), encode(Claim(OVER, [])), DEAD_KEPT),
            *large,
        ]

    def _claim(self, exported: ExportedJob, now: float) -> Claim:
        claim = Claim(BACK, [new_id()], self._name, attempts=exported.attempts, worker_deaths=exported.worker_deaths)
        claim.failures, claim.due = _past(exported).failures, now + exported.delay
        return claim

    # --- messages

    def _publish(self, names: Sequence[str], *, again: bool) -> None:
        """Of the new ones, those that nobody has received. `again`: there may be messages of them that do not count."""
        now = self._ledger.now()
        messages: list[Message] = []
        plain: list[str] = []
        for seen in self._brought_back(names, now):
            exported, claim = self._exported_jobs[seen.id], seen.claim
            if seen.end is not None or seen.put_record is None or seen.put_record.over:
                continue
            if claim is None and again:
                plain.append(seen.id)
            elif claim is None or (claim.kind == BACK and claim.holder == self._name):
                copy = self._copy(seen, claim, again=again)
                if copy is not None:
                    envelope = _past(exported)
                    envelope.copy, envelope.put = copy, seen.put_record.put if exported.expires is not None else 0.0
                    delay = max(0.0, seen.put_record.due - now)
                    messages.append(message_of(_job(exported), exported.message, envelope, delay))
        self._carrier.send(messages)
        self._intake.again(plain)
        self._bury([exported for name in names if (exported := self._exported_jobs[name]).dead], again=again)

    def _copy(self, seen: Seen, claim: Claim | None, *, again: bool) -> str | None:
        """The name of the message that counts; None: an earlier one of it was received just now."""
        if claim is None:  # it may have been put here meanwhile: of two messages the one that is claimed counts
            return new_id()
        if not again:
            return claim.copies[0]
        new = msgspec.structs.replace(claim, copies=[new_id()])
        return new.copies[0] if self._ledger.compare_and_set(Entry(key("c", seen.id), encode(new)), seen.claim_raw) else None

    def _brought_back(self, names: Sequence[str], now: float) -> list[Seen]:
        """These, among them jobs that left from here and have come back: messages of before their leave do not count."""
        found = self._ledger.look(names)
        back = [(each, self._exported_jobs[each.id]) for each in found if away(each.claim)]
        if not back:
            return found
        self._ledger.write([entry for _, exported in back for entry in self._entries(exported, now, comes_back=True)])
        for each, exported in back:
            if not exported.dead:
                self._ledger.compare_and_set(Entry(key("c", each.id), encode(self._claim(exported, now))), each.claim_raw)
        return self._ledger.look(names)

    def _bury(self, exported_jobs: Sequence[ExportedJob], *, again: bool) -> None:
        ends = self._ledger.read_as(End, [key("e", exported.id) for exported in exported_jobs])
        queues: dict[Place, list[str]] = {}
        messages: list[Message] = []
        for exported, end in zip(exported_jobs, ends, strict=True):
            if end is None or end.by != self._name:
                continue
            envelope, job = _past(exported), _job(exported)
            envelope.copy = exported.id if job_or_none(exported.message) is None else ""
            queues.setdefault((job.queue, None), []).append(exported.id)
            messages.append(message_of(job, exported.message, envelope, dead=True))
        if not messages:
            return
        if again:
            with self._carrier.look(queues) as look:
                look.acknowledge(look.found)
        self._carrier.send(messages)
        self._carrier.announce(encode([message.id for message in messages]))


def _job(exported: ExportedJob) -> Job:
    job = job_or_none(exported.message) or Job(1, exported.id, "", b"", exported.queue, exported.priority)
    return msgspec.structs.replace(job, constraints=None)


def _put(exported: ExportedJob, job: Job, now: float) -> float:
    """From when its expiry counts, so that it expires when it would have."""
    if job.expires is None:
        return now
    return NEVER if exported.expires is None else now + exported.expires - job.expires


def _past(exported: ExportedJob) -> Envelope:
    return history(exported.attempts, exported.failures, exported.worker_deaths)
