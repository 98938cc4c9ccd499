"""The inspector where a store is kept: jobs by id, and an operator's changes to them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from longboat.brokers.rabbitmq import listing
from longboat.brokers.rabbitmq.entries import HELD, OVER, Claim, PutRecord, key, pair
from longboat.brokers.rabbitmq.envelope import Envelope
from longboat.brokers.rabbitmq.inspector import RabbitmqInspector
from longboat.brokers.rabbitmq.ledger import Seen, back, encode, opened
from longboat.brokers.rabbitmq.packing import away
from longboat.brokers.rabbitmq.stored import Stored
from longboat.contract.broker import DEAD_KEPT
from longboat.contract.kv import Entry
from longboat.core.codec import decode_job
from longboat.core.job import Failure, State
from longboat.core.reasons import WORKER_DIED
from longboat.core.views import ConsumerView, JobView, Page
from longboat.errors import Undecodable

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker

COUNTED = 10_000
"""Jobs that are counted one by one; of more what the server counts is told."""

TOGETHER = 500


class StoredInspector(RabbitmqInspector):
    def __init__(self, broker: RabbitmqBroker, stored: Stored) -> None:
        super().__init__(broker)
        self._stored = stored
        self._ledger = stored.ledger

    def counts(self) -> Mapping[tuple[str, State], int]:
        """Of up to COUNTED jobs, counted one by one; beyond, what the server tells."""
        found: dict[tuple[str, State], int] = {}
        put_records = list(islice(self._put_records(), COUNTED + 1))
        if len(put_records) > COUNTED:
            return super().counts()
        for place in self._states(put_records):
            found[place[1:]] = found.get(place[1:], 0) + 1
        return found

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        now = time.time()
        return [self._ledger.view(seen, now) for seen in self._ledger.look(ids)]

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """By looking at notes one by one; the first page of a queue's dead jobs by looking at its messages."""
        if state is not State.DEAD:
            return listing.page(self._ledger, state, queue, task, after, limit)
        if queue is None or after is not None:
            return listing.dead(self._ledger, queue, task, after, limit)
        page = super().jobs(state, queue=queue, task=task, after=None, limit=limit)
        seen = {each.id: each for each in self._ledger.look([view.id for view in page.jobs if view.id])}
        now = time.time()
        views = [view for view in page.jobs if not view.id or seen[view.id].state(now) is State.DEAD]
        full = len(page.jobs) == limit and views and views[-1].id
        return Page(views, listing.mark(seen[views[-1].id]) if full else None)

    def consumers(self) -> list[ConsumerView]:
        return [
            ConsumerView(name, each.name, each.queues, len(self._ledger.holdings(name)), each.deadline)
            for name, each in self._ledger.consumers()
        ]

    def cancel(self, ids: Sequence[str]) -> list[str]:
        cancelled: list[str] = []
        unique = list(dict.fromkeys(ids))
        for at in range(0, len(unique), TOGETHER):
            cancelled += self._cancel(unique[at : at + TOGETHER])
        return cancelled

    def _cancel(self, ids: Sequence[str]) -> list[str]:
        """Who holds it is asked; of what nobody holds the claim is taken."""
        now = time.time()
        left = list(ids)
        cancelled: set[str] = set()
        while left:
            free: list[Seen] = []
            for each in self._ledger.look(left):
                state = each.state(now)
                if state is State.RUNNING and each.claim is not None:
                    if self._ask(each.id, each.claim.holder):
                        cancelled.add(each.id)
                elif state is not None and not state.ended:
                    free.append(each)
            taken = self._stored.take(free)
            self._end(taken)
            done = {each.id for each in taken}
            cancelled |= done
            left = [each.id for each in free if each.id not in done]  # somebody took these meanwhile
        return [each for each in ids if each in cancelled]

    def _ask(self, name: str, holder: str) -> bool:
        (new,) = self._ledger.put_if_absent([Entry(pair("a", holder, name), name.encode(), DEAD_KEPT)])
        if new:
            self._broker.tell("", self._broker.names.ear(holder), b"asked")
        return new

    def _end(self, taken: Sequence[Seen]) -> None:
        endings = []
        for each in taken:
            message = self._ledger.message(each)
            claim = each.claim or Claim(OVER, [])
            if claim.kind == HELD:
                claim = back(
                    claim,
                    Failure(WORKER_DIED, f"{claim.worker} died while it ran this", at=time.time()),
                    started=each.started,
                )
            job, by = decode_job(message), f"cancel {time.time_ns()}"
            endings.append(self._stored.cancelled(job, message, by, attempts=claim.attempts, failures=claim.failures))
        self._stored.end(endings, queued=True)

    def retry(self, ids: Sequence[str]) -> list[str]:
        found = {each.id: each for each in self._ledger.look(list(dict.fromkeys(ids)))}
        retried: list[str] = []
        for name, seen in found.items():
            if (message := self._ledger.message(seen)) and self._retry(seen, message):
                retried.append(name)
        queues = {
            seen.end.queue if seen.end else seen.put_record.queue if seen.put_record else "" for seen in found.values()
        }
        with self._link() as link:  # what stands for it among the dead goes
            for queue in sorted(queues - {""}) if retried else ():
                for tag, body, envelope in self._dead(link, queue):
                    if self._view(queue, body, envelope).id in found:
                        self._ack(link, tag)
        return retried

    def _retry(self, seen: Seen, message: bytes) -> bool:
        try:
            return self._stored.retry(decode_job(message), message, seen)
        except Undecodable:
            return False

    def _view(self, queue: str, body: bytes, envelope: Envelope) -> JobView:
        view = super()._view(queue, body, envelope)
        view.id = view.id or envelope.copy  # what cannot be decoded was given an id when it was found
        return view

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        """By looking at jobs one by one."""
        now, doomed = time.time(), list[Seen]()
        unread = 0
        if State.DEAD in states:
            unread = self._purge_dead(queue, limit)
        for put_records in _chunks(self._put_records()):
            for seen in self._ledger.look([put_record.id for put_record in put_records]):
                state = seen.state(now)
                its = seen.put_record.queue if seen.put_record else seen.end.queue if seen.end else ""
                if state in states and state is not State.RUNNING and queue in (None, its) and state is not State.DEAD:
                    doomed.append(seen)
            if len(doomed) + unread >= limit:
                break
        return unread + self._delete(doomed[: limit - unread])

    def _purge_dead(self, queue: str | None, limit: int) -> int:
        purged = 0
        with self._link() as link:
            for name in self._queues(queue):
                for tag, body, envelope in self._dead(link, name):
                    if purged == limit:
                        return purged
                    job_id = self._view(name, body, envelope).id
                    (seen,) = self._ledger.look([job_id])
                    if seen.state(time.time()) in (None, State.DEAD) and not away(seen.claim):
                        self._ledger.write(self._unwritten(job_id, body))  # else it has left the dead, and may live
                    self._ack(link, tag)
                    purged += 1
        return purged

    def _unwritten(self, name: str, message: bytes) -> list[Entry]:
        over = [Entry(key("e", name), None)] if name else []
        try:
            return [*self._ledger.forget(decode_job(message), None), *over]
        except Undecodable:
            return [Entry(key("m", name), None), *over] if name else []

    def _delete(self, doomed: Sequence[Seen]) -> int:
        entries: list[Entry] = []
        gone = 0
        for seen in doomed:
            if seen.end is None and not self._ledger.compare_and_set(
                Entry(key("c", seen.id), encode(Claim(OVER, []))), seen.claim_raw
            ):
                continue
            gone += 1
            pieces = seen.put_record.pieces if seen.put_record else 0
            job = decode_job(self._ledger.message(seen))
            entries += [*self._ledger.forget(job, None, queued=True, pieces=pieces), Entry(key("e", seen.id), None)]
        self._ledger.write(entries)
        return gone

    def prune(self, *, limit: int = 1000) -> int:
        return self._stored.store.inspector.prune(limit=limit)

    def _put_records(self) -> Iterator[PutRecord]:
        for _, raw in self._ledger.between("m/", "m0"):
            if put_record := opened(PutRecord, raw):
                yield put_record

    def _states(self, put_records: Sequence[PutRecord]) -> Iterator[tuple[str, str, State]]:
        now = time.time()
        for some in _chunks(iter(put_records)):
            for put_record, seen in zip(some, self._ledger.look([each.id for each in some]), strict=True):
                if state := seen.state(now):
                    yield put_record.id, put_record.queue, state


def _chunks(put_records: Iterator[PutRecord]) -> Iterator[list[PutRecord]]:
    while some := list(islice(put_records, TOGETHER)):
        yield some
