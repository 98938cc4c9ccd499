"""Intake: puts are remembered. One `put_if_absent` of entries, then one publish.

A job that is known already is published once more only if nobody has claimed it, since whoever put it may have died between
the two.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from longboat.brokers.companion.dependencies import Dependencies, dependent
from longboat.brokers.companion.entries import BACK, OVER, Claim, End, PutRecord, hashed, key, parents_of, timed
from longboat.brokers.companion.ledger import Ledger, encode
from longboat.brokers.companion.marks import marked
from longboat.contract.broker import FORGOTTEN_AFTER, Token
from longboat.contract.carrier import Carrier, Envelope, Message
from longboat.contract.kv import Entry
from longboat.contract.messages import message_of
from longboat.core.job import Job, State, new_id, order_of
from longboat.core.views import job_or_none
from longboat.errors import UnknownParent

OLD = 100
"""Entries of a client's earlier tokens that are deleted together: a later one says all that they say."""


class Intake:
    def __init__(self, ledger: Ledger, carrier: Carrier, dependencies: Dependencies) -> None:
        self._ledger = ledger
        self._carrier = carrier
        self._dependencies = dependencies
        self._lock = threading.Lock()
        self._last: dict[str, int] = {}
        """The highest number that is known to be stored and published, by client."""
        self._written: dict[str, list[str]] = {}

    def put(self, jobs: Mapping[str, Job], bodies: Mapping[str, bytes], token: Token | None) -> list[str]:
        if token is not None and self._known(token):
            if token[1] > self._last[token[0]]:
                self.again(list(jobs))
                self._remember(token)
            return list(jobs)
        self._check_parents(jobs)
        now = self._ledger.now()
        entries: list[Entry] = []
        places: list[int] = []
        for job in jobs.values():
            places.append(len(entries))
            entries += self._ledger.entered(job, bodies[job.id], now)
            if job.constraints:
                entries += self._dependencies.edges(job)
            if job.expires is not None:
                entries.append(Entry(timed(now + job.expires, job.id), job.id.encode()))
        if token is not None:
            entries.append(Entry(_name(token), b"", FORGOTTEN_AFTER))
        added = self._ledger.put_if_absent(entries)
        new = {name: job for at, (name, job) in zip(places, jobs.items(), strict=True) if added[at]}
        self._send(new, bodies, now)
        if len(new) < len(jobs):
            self.again([name for name in jobs if name not in new])
        self._remember(token)
        return list(jobs) if token is not None and not added[-1] else list(new)

    def _send(self, new: Mapping[str, Job], bodies: Mapping[str, bytes], now: float) -> None:
        messages: list[Message] = []
        waiting = dependent(new.values())
        waits = {job.id for job in waiting}
        blank, dated = Envelope(), Envelope(put=now)
        copies = self._copies(new)
        for job in new.values():
            if job.id not in waits:
                envelope = blank if job.expires is None else dated
                if job.id in copies:
                    envelope = Envelope(put=envelope.put, copy=copies[job.id])
                messages.append(message_of(job, bodies[job.id], envelope, job.delay))
        self._carrier.send(messages)
        parents = {parent for job in waiting for parent in parents_of(job.constraints)}
        if outside := parents - new.keys():
            self._dependencies.catch_up(outside)

    def _copies(self, names: Iterable[str]) -> dict[str, str]:
        """The messages that count, by id, where one of an earlier job of that id may still come, and is to be dropped.

        That job was cancelled while it was queued, over a day ago: its id is not known any more, but its claim stands.
        """
        copies: dict[str, str] = {}
        for seen in self._ledger.look([name for name in names if order_of(name) is None]):
            if seen.claim is not None and seen.claim.kind == OVER and not marked(seen.claim) and seen.end is None:
                copy = new_id()
                if self._ledger.compare_and_set(Entry(key("c", seen.id), encode(Claim(BACK, [copy]))), seen.claim_raw):
                    copies[seen.id] = copy
        return copies

    def again(self, names: Sequence[str]) -> None:
        """Publish those known that nobody has claimed and nobody has published again."""
        now = self._ledger.now()
        messages: list[Message] = []
        sure: list[tuple[Entry, bytes | None]] = []
        waiting: set[str] = set()
        for seen in self._ledger.look(names):
            put_record = seen.put_record
            if put_record is None or put_record.over or put_record.sure or seen.end is not None:
                continue
            copy = new_id() if seen.claim is None else self._copies([seen.id]).get(seen.id)
            if copy is None:
                continue
            message = self._ledger.message(seen)
            if (job := job_or_none(message)) is None:
                continue
            if put_record.waits:
                waiting.update(parents_of(job.constraints))
                continue
            envelope = Envelope(put=put_record.put if job.expires is not None else 0.0, copy=copy, again=True)
            messages.append(message_of(job, message, envelope, max(0.0, put_record.due - now)))
            new = msgspec.structs.replace(put_record, sure=True)
            sure.append((Entry(key("m", seen.id), encode(new)), seen.put_raw))
        self._carrier.send(messages)
        for entry, old in sure:
            self._ledger.compare_and_set(entry, old)
        if waiting:
            self._dependencies.catch_up(waiting)

    def _check_parents(self, jobs: Mapping[str, Job]) -> None:
        before: set[str] = set()
        wanted: dict[str, list[str]] = {}
        for job in jobs.values():
            if strangers := [parent for parent in parents_of(job.constraints) if parent not in before]:
                wanted[job.id] = strangers
            before.add(job.id)
        if not wanted:
            return
        known, there = self._kept({*wanted, *(parent for parents in wanted.values() for parent in parents)})
        for name, parents in wanted.items():
            for parent in parents:
                if name not in known and parent not in there:
                    raise UnknownParent(f"job {name} comes after {parent}, which is not known here")

    def _kept(self, names: Collection[str]) -> tuple[set[str], set[str]]:
        """Those of these ids that are known, and those whose jobs are kept here."""
        known: set[str] = set()
        there: set[str] = set()
        now, ids = self._ledger.now(), list(names)
        put_records = self._ledger.read_as(PutRecord, [key("m", name) for name in ids])
        ends = self._ledger.read_as(End, [key("e", name) for name in ids])
        for name, put_record, end in zip(ids, put_records, ends, strict=True):
            if put_record is not None:
                known.add(name)
            kept = end is not None and (end.state is not State.SUCCEEDED or now < end.ended + end.keep)
            if kept or (put_record is not None and not put_record.over):
                there.add(name)
        return known, there

    # --- tokens

    def _known(self, token: Token) -> bool:
        """Of a client that is met for the first time the store is asked."""
        client, number = token
        with self._lock:
            last = self._last.get(client)
        if last is None:
            stored = self._ledger.first(_name((client, number - 1)), f"t/{hashed(client)}0")
            with self._lock:
                last = self._last.setdefault(client, number - 1)
            if stored:
                return True
        return number <= last

    def _remember(self, token: Token | None) -> None:
        if token is None:
            return
        client, number = token
        with self._lock:
            self._last[client] = max(number, self._last.get(client, number))
            written = self._written.setdefault(client, [])
            written.append(_name(token))
            old = sorted(written)[:-1] if len(written) > OLD else []
            if old:
                self._written[client] = [_name((client, self._last[client]))]
        self._ledger.write([Entry(each, None) for each in old])


def _name(token: Token) -> str:
    return f"t/{hashed(token[0])}/{token[1]:020d}"
