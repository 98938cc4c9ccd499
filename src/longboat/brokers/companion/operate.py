"""CompanionInspector: jobs by id and by state, and an operator's changes to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from longboat.brokers.companion import listing
from longboat.brokers.companion.endings import Endings, history
from longboat.brokers.companion.entries import BACK, OVER, Claim, key, pair
from longboat.brokers.companion.ledger import Seen, encode
from longboat.brokers.companion.listing import TOGETHER
from longboat.brokers.companion.marks import away, left_alone, marked
from longboat.contract.broker import DEAD_KEPT, Broker
from longboat.contract.carrier import NEVER, Carrier
from longboat.contract.kv import Entry
from longboat.contract.messages import message_of
from longboat.core.codec import decode_failures
from longboat.core.job import State, new_id
from longboat.core.views import ConsumerView, JobView, LimitView, Page, job_or_none

RETRYING = 10.0
"""Seconds after which a retry that nobody has received may be made again: whoever began it may have died over it."""

TRIES = 100
"""To cancel jobs of which others change the claims meanwhile."""


class CompanionInspector:
    """`store`: what the KV belongs to, which prunes it."""

    def __init__(self, endings: Endings, carrier: Carrier, store: Broker) -> None:
        self._ledger = endings.ledger
        self._endings = endings
        self._carrier = carrier
        self._store = store

    def counts(self) -> Mapping[tuple[str, State], int]:
        """Exact where the jobs are few enough to be looked at one by one; beyond, what the carrier tells."""
        found = listing.count(self._ledger)
        return self._carrier.depths() if found is None else found

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        now = self._ledger.now()
        return [self._ledger.view(seen, now) for seen in self._ledger.look(ids)]

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        return listing.page(self._ledger, state, queue=queue, task=task, after=after, limit=limit)

    def consumers(self) -> list[ConsumerView]:
        return [
            ConsumerView(name, each.name, each.queues, len(self._ledger.holdings(name)), each.deadline)
            for name, each in self._ledger.consumers()
        ]

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        return [None for _ in keys]

    def prune(self, *, limit: int = 1000) -> int:
        return self._store.inspector.prune(limit=limit)

    # --- cancelling

    def cancel(self, ids: Sequence[str]) -> list[str]:
        cancelled: set[str] = set()
        unique = list(dict.fromkeys(ids))
        for at in range(0, len(unique), TOGETHER):
            cancelled |= self._cancel(unique[at : at + TOGETHER])
        return [each for each in unique if each in cancelled]

    def _cancel(self, ids: Sequence[str]) -> set[str]:
        """The holder of a job is asked; of a job that nobody holds the claim is taken."""
        left = list(ids)
        cancelled: set[str] = set()
        for _ in range(TRIES):
            free: list[Seen] = []
            for each in self._ledger.look(left):
                state = each.state(self._ledger.now())
                if state is State.RUNNING and each.claim is not None:
                    if self._ask(each.id, each.claim.holder):
                        cancelled.add(each.id)
                elif state is not None and not state.ended:
                    free.append(each)
            done = self._endings.cancel(free)
            cancelled.update(done)
            left = [each.id for each in free if each.id not in done]
            if not left:  # else somebody took these meanwhile, or their entries cannot be read
                break
        return cancelled

    def _ask(self, name: str, holder: str) -> bool:
        (new,) = self._ledger.put_if_absent([Entry(pair("a", holder, name), name.encode(), DEAD_KEPT)])
        if new:
            self._carrier.notify(holder)
        return new

    # --- retrying

    def retry(self, ids: Sequence[str]) -> list[str]:
        """What stands for them among the dead messages goes."""
        found = self._ledger.look(list(dict.fromkeys(ids)))
        retried = [seen for seen in found if self._retry(seen)]
        dead: dict[tuple[str, int | None], list[str]] = {}
        for seen in retried:
            dead.setdefault((seen.queue, None), []).append(seen.id)
        if dead:
            with self._carrier.look(dead) as look:
                look.acknowledge(look.found)
        return [seen.id for seen in retried]

    def _retry(self, seen: Seen) -> bool:
        """Have a dead job be ready again; False where it is not dead any more, or never was a job."""
        message = self._ledger.message(seen)
        job = job_or_none(message)
        if job is None:
            return False
        if marked(seen.claim):
            seen = left_alone(self._ledger, job.id)
        now, claim = self._ledger.now(), seen.claim
        begun = seen.end is None and claim is not None and claim.kind == BACK and 0 < claim.at < now - RETRYING
        if marked(claim) or (not begun and (seen.end is None or seen.end.state is not State.DEAD)):
            return False
        failures = seen.end.failures if seen.end else decode_failures(claim.failures) if claim else []
        envelope = history(0, failures)
        envelope.put, envelope.copy = NEVER, new_id()
        new = Claim(BACK, [envelope.copy], failures=envelope.failures, at=now)
        if not self._ledger.compare_and_set(Entry(key("c", job.id), encode(new)), seen.claim_raw):
            return False
        afresh = msgspec.structs.replace(job, delay=0.0, constraints=None)  # it waits for nothing any more
        self._ledger.write([*self._ledger.entered(afresh, message, now, expires=False), Entry(key("e", job.id), None)])
        self._carrier.send([message_of(job, message, envelope)])
        return True

    # --- purging

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        """By looking at jobs one by one, and at the dead messages."""
        now, doomed = self._ledger.now(), list[Seen]()
        purged = self._purge_dead(queue, limit) if State.DEAD in states else 0
        wanted = set(states) - {State.RUNNING, State.DEAD}
        for _, seen in listing.walk(self._ledger) if wanted and purged < limit else ():
            if seen.state(now) in wanted and queue in (None, seen.queue):
                doomed.append(seen)
                if len(doomed) + purged >= limit:
                    break
        return purged + self._delete(doomed)

    def _purge_dead(self, queue: str | None, limit: int) -> int:
        purged = 0
        for name in self._carrier.dead_queues() if queue is None else [queue]:
            if purged == limit:
                break
            with self._carrier.look({(name, None): None}) as look:
                doomed = look.found[: limit - purged]
                for each in doomed:
                    name = each.envelope.copy or each.id  # of what cannot be decoded the copy is the id
                    (seen,) = self._ledger.look([name])
                    if seen.state(self._ledger.now()) in (None, State.DEAD) and not away(seen.claim):
                        self._ledger.write(self._unwritten(name, each.body))  # else it has left the dead, and may live
                look.acknowledge(doomed)
                purged += len(doomed)
        return purged

    def _unwritten(self, name: str, message: bytes) -> list[Entry]:
        over = [Entry(key("e", name), None)] if name else []
        if job := job_or_none(message):
            return [*self._ledger.forget(job, None), *over]
        return [Entry(key("m", name), None), *over] if name else []

    def _delete(self, doomed: Sequence[Seen]) -> int:
        entries: list[Entry] = []
        gone = 0
        for seen in doomed:
            over = Entry(key("c", seen.id), encode(Claim(OVER, [])))
            if seen.end is not None or self._ledger.compare_and_set(over, seen.claim_raw):
                gone += 1
                pieces = seen.put_record.pieces if seen.put_record else 0
                if job := job_or_none(self._ledger.message(seen)):
                    entries += self._ledger.forget(job, None, queued=True, pieces=pieces)
                else:
                    entries.append(Entry(key("m", seen.id), None))
                entries.append(Entry(key("e", seen.id), None))
        self._ledger.write(entries)
        return gone
