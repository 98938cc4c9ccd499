"""Endings: how jobs end, whoever ends them. The end is written first; what follows of it can be done again by anybody."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from longboat.brokers.companion.dependencies import Dependencies
from longboat.brokers.companion.entries import BACK, HELD, OVER, Claim, End, key, pair, timed
from longboat.brokers.companion.ledger import Ledger, Seen, encode, named
from longboat.contract.carrier import Carrier, Envelope
from longboat.contract.kv import Entry
from longboat.contract.messages import message_of
from longboat.core import reasons
from longboat.core.codec import decode_failures
from longboat.core.job import Failure, Job, State, new_id
from longboat.core.views import job_or_none

HELD_UP = 5.0
"""Seconds after which a job is looked at again that somebody held when it was to expire: it may come back unstarted."""


class Ending(msgspec.Struct):
    """A job, its message, and how it ends."""

    job: Job
    message: bytes
    end: End


class Endings:
    def __init__(self, ledger: Ledger, carrier: Carrier, dependencies: Dependencies) -> None:
        self.ledger = ledger
        self._carrier = carrier
        self._dependencies = dependencies

    def end(self, endings: Sequence[Ending], entries: Sequence[Entry] = (), *, queued: bool = False) -> list[bool]:
        """Have these jobs end, and write `entries` with that; tells of each whether this end is the one that holds.

        `queued`: messages of theirs are still in queues.
        """
        if not endings:
            self.ledger.write(entries)
            return []
        results = [each.end.result or b"" for each in endings]
        hold, followed = self.ledger.finish([(each.end, each.message) for each in endings])
        mine = [each for each, holds in zip(endings, hold, strict=True) if holds]
        done = {
            each.job.id: result
            for each, holds, result, has in zip(endings, hold, results, followed, strict=True)
            if holds and has and each.end.state is State.SUCCEEDED
        }
        self._follow(mine, done, entries, queued=queued)
        return hold

    def end_again(self, end: End) -> None:
        """What follows of an end whose worker died over it."""
        message = self.ledger.whole("g", end.id, end.message, end.pieces)
        done = {end.id: self.ledger.result(end) or b""} if end.state is State.SUCCEEDED else {}
        if job := job_or_none(message):
            self._follow([Ending(job, message, end)], done, ())

    def _follow(
        self, endings: Sequence[Ending], done: dict[str, bytes], entries: Sequence[Entry], *, queued: bool = False
    ) -> None:
        if done:
            self._dependencies.succeeded(done)
        self._carrier.send(
            [
                message_of(each.job, each.message, history(each.end.attempts, each.end.failures), dead=True)
                for each in endings
                if each.end.state is State.DEAD
            ]
        )
        over = [entry for each in endings for entry in self.ledger.forget(each.job, each.end, queued=queued)]
        self.ledger.write([*over, *entries])
        self._carrier.announce(encode([each.end.id for each in endings]))

    # --- what nobody holds

    def take(self, seen: Sequence[Seen]) -> list[Seen]:
        """Take the claims of these, which nobody holds, so that nobody can; returns those that it got."""
        over = encode(Claim(OVER, []))
        fresh = [each for each in seen if each.claim is None]
        added = self.ledger.put_if_absent([Entry(key("c", each.id), over) for each in fresh])
        taken = [each for each, mine in zip(fresh, added, strict=True) if mine]
        for each in seen:
            if each.claim is not None and self.ledger.compare_and_set(Entry(key("c", each.id), over), each.claim_raw):
                taken.append(each)
        return taken

    def cancel(self, seen: Sequence[Seen], failure: Failure | None = None) -> list[str]:
        """Cancel these, which nobody holds any more; returns the ids of those that this has ended.

        `failure`: how those ended that a worker died over.
        """
        now = self.ledger.now()
        endings, entries = [], list[Entry]()
        jobs = {each.id: (job, message) for each in seen if (job := job_or_none(message := self.ledger.message(each)))}
        for each in self.take([each for each in seen if each.id in jobs]):
            claim, (job, message) = each.given_back(now, failure) or Claim(BACK, []), jobs[each.id]
            ending = self.cancelled(job, message, claim, by=f"cancel {new_id()}")
            endings.append(ending)
            if each.asked and each.claim is not None:
                entries.append(Entry(pair("a", each.claim.holder, each.id), None))
        hold = self.end(endings, entries, queued=True)
        return [each.job.id for each, holds in zip(endings, hold, strict=True) if holds]

    def cancelled(self, job: Job, message: bytes, claim: Claim | Envelope, *, by: str) -> Ending:
        failures = [*decode_failures(claim.failures), reasons.cancelled(self.ledger.now(), claim.attempts)]
        return Ending(job, message, self.ledger.ended(job, State.CANCELLED, by, attempts=claim.attempts, failures=failures))

    def out_of_time(self, job: Job, message: bytes, claim: Claim, *, parked: bool, by: str) -> Ending:
        """It was parked for too long, or has expired."""
        failures, attempts = decode_failures(claim.failures), claim.attempts
        if parked:
            state, last = State.DEAD, decode_failures(claim.why)
        else:
            state, last = State.CANCELLED, [reasons.expired(self.ledger.now(), attempts)]
        return Ending(job, message, self.ledger.ended(job, state, by, attempts=attempts, failures=[*failures, *last]))

    def evict(self, consumer: str, failure: Failure) -> int:
        """What this consumer has claimed comes back; `failure` is an attempt of what had started. Returns how many."""
        came = 0
        for seen in self.ledger.holdings(consumer):
            if seen.asked:
                came += len(self.cancel([seen], failure))
                continue
            back = seen.given_back(self.ledger.now(), failure)
            if back and self.ledger.compare_and_set(Entry(key("c", seen.id), encode(back)), seen.claim_raw):
                came += 1
                put = seen.put_record.put if seen.put_record else 0.0
                if job := job_or_none(self.ledger.message(seen)):
                    self.ledger.write(self.ledger.expiry(job, back, put))
        self.ledger.forget_consumer(consumer)
        return came

    # --- by time

    def end_due(self, limit: int = 100) -> bool:
        """Jobs that nobody holds and whose time is over end: they have expired, or were parked for too long.

        And those end that were to be cancelled by a worker that has died. Whether there may be more of them.
        """
        now = self.ledger.now()
        due = self.ledger.first("x/", f"x/{int(now * 1000) + 1:015d}", limit)
        over: dict[str, Ending] = {}
        seen = self.ledger.look([named(raw) for _, raw in due])
        for each in seen:
            if ending := self._due(each, now):
                over[each.id] = ending
        taken = self.take([each for each in seen if each.id in over])
        later = [Entry(timed(now + HELD_UP, each.id), each.id.encode()) for each in seen if _is_held(each)]
        self.end([over[each.id] for each in taken], later, queued=True)
        self.ledger.write([Entry(name, None) for name, _ in due])
        asked = self.ledger.look([named(raw) for _, raw in self.ledger.first("a/", "a0", limit)])
        self.cancel([each for each in asked if each.asked and not each.alive and each.claim and each.claim.kind == HELD])
        return len(due) == limit

    def _due(self, seen: Seen, now: float) -> Ending | None:
        """None: its time is not over, or somebody holds it."""
        put_record, claim, state = seen.put_record, seen.given_back(now) or Claim(BACK, []), seen.state(now)
        if put_record is None or state is None or state.ended or state is State.RUNNING:
            return None
        message = self.ledger.message(seen)
        if (job := job_or_none(message)) is None:
            return None
        parked = 0 < claim.parked <= now
        expired = not claim.attempts and job.expires is not None and put_record.put + job.expires <= now
        return self.out_of_time(job, message, claim, parked=parked, by=f"due {new_id()}") if parked or expired else None


def _is_held(seen: Seen) -> bool:
    """For the first time, and so it may expire yet."""
    return seen.claim is not None and seen.claim.kind == HELD and seen.alive and not seen.claim.attempts


def history(attempts: int, failures: Sequence[Failure], worker_deaths: int = 0) -> Envelope:
    """What an envelope says of the past of a job."""
    envelope = Envelope(attempts, worker_deaths)
    envelope.failures = envelope.failed(*failures)
    return envelope
