"""Unpacking: jobs come from another broker. One `add` of notes, all or nothing, then their messages, then the word that
these are published: until then the same name publishes again what nobody has received."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from longboat.brokers.rabbitmq import letter as letters
from longboat.brokers.rabbitmq.ledger import INLINE, Seen, encode, opened
from longboat.brokers.rabbitmq.letter import Letter
from longboat.brokers.rabbitmq.names import LONGEST
from longboat.brokers.rabbitmq.notes import BACK, OVER, Claim, End, Entry, hashed, key, timed
from longboat.brokers.rabbitmq.packing import NEVER, away, decoded
from longboat.brokers.rabbitmq.sweeping import Sweep
from longboat.contract.broker import DEAD_KEPT, FORGOTTEN_AFTER, UNDECODABLE
from longboat.contract.kv import Note
from longboat.contract.transfer import Parcel
from longboat.core.codec import decode_failures
from longboat.core.job import Failure, Job, State, new_id

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker
    from longboat.brokers.rabbitmq.stored import Stored

REFUSED = "longboat.Unsupported"


class Arrival(msgspec.Struct, array_like=True):
    """What came under a name."""

    mark: str
    """Of who publishes it: what another writes down then does not count."""
    new: list[str]
    done: bool = False


class Unpacking:
    """Of one name."""

    def __init__(self, broker: RabbitmqBroker, stored: Stored, name: str, parcels: Sequence[Parcel]) -> None:
        self._broker = broker
        self._stored = stored
        self._ledger = stored.ledger
        self._name = name
        self._key = f"u/{hashed(name)}"
        self._parcels = {parcel.id: _fit(parcel) for parcel in parcels}

    def __call__(self) -> list[str]:
        while True:
            (raw,) = self._ledger.read([self._key])
            arrival = opened(Arrival, raw)
            if arrival is not None and arrival.done:
                return list(self._parcels)
            mine = Arrival(new_id(), arrival.new if arrival else [])
            if arrival is None:
                if not self._enter(mine):
                    continue
            elif not self._ledger.swap(Note(self._key, encode(mine), DEAD_KEPT), raw):
                continue
            self._publish(mine.new, again=arrival is not None)
            done = Note(self._key, encode(Arrival(mine.mark, mine.new, True)), FORGOTTEN_AFTER)
            if self._ledger.swap(done, encode(mine)):
                return mine.new if arrival is None else list(self._parcels)

    def _enter(self, arrival: Arrival) -> bool:
        """What is new here is known from now on; False: another has begun this name."""
        now = time.time()
        notes: list[Note] = []
        for seen, parcel in zip(self._ledger.look(list(self._parcels)), self._parcels.values(), strict=True):
            if seen.end is None and (seen.entry is None or seen.entry.over) and away(seen.claim):
                arrival.new.append(seen.id)  # its notes are written over then
            elif seen.entry is None and seen.claim is None and seen.end is None:
                arrival.new.append(seen.id)
                notes += self._notes(parcel, now)
        first, *added = self._ledger.add([Note(self._key, encode(arrival), DEAD_KEPT), *notes])
        if not first:
            self._ledger.write([Note(note.key, None) for note, mine in zip(notes, added, strict=True) if mine])
        return first

    def _notes(self, parcel: Parcel, now: float, *, comes_back: bool = False) -> list[Note]:
        """Of a job that runs for the first time there is no claim, as after a put."""
        if parcel.dead:
            return self._dead_notes(parcel, now)
        job = _job(parcel)
        message, large = self._ledger.split("g", job.id, parcel.message)
        entry = Entry(job.id, job.queue, message, len(large), _put(parcel, job, now), now + parcel.delay)
        notes = [Note(key("m", job.id), encode(entry)), *large]
        if parcel.expires is not None:
            notes.append(Note(timed(now + parcel.expires, job.id), job.id.encode()))
        if not comes_back and (parcel.attempts or parcel.returns or parcel.failures):
            notes.append(Note(key("c", job.id), encode(self._claim(parcel, now))))
        return notes

    def _dead_notes(self, parcel: Parcel, now: float) -> list[Note]:
        job = _job(parcel)
        message, large = self._ledger.split("g", job.id, parcel.message, DEAD_KEPT)
        end = End(job.id, State.DEAD, self._name, now, DEAD_KEPT, parcel.attempts, _failures(parcel))
        end.queue, end.task, end.message, end.pieces = job.queue, job.task, message, len(large)
        return [
            Note(key("e", job.id), encode(end), DEAD_KEPT),
            Note(key("f", job.id), b"", DEAD_KEPT),
            Note(key("m", job.id), encode(Entry(job.id, job.queue, over=True)), DEAD_KEPT),
            Note(key("c", job.id), encode(Claim(OVER, [])), DEAD_KEPT),
            *large,
        ]

    def _claim(self, parcel: Parcel, now: float) -> Claim:
        claim = Claim(BACK, [new_id()], self._name, attempts=parcel.attempts, returns=parcel.returns)
        claim.failures, claim.due = _short(parcel).failures, now + parcel.delay
        return claim

    # --- messages

    def _publish(self, names: Sequence[str], *, again: bool) -> None:
        """Of the new ones, those that nobody has received. `again`: there may be messages of them that do not count."""
        now = time.time()
        items: list[tuple[Job, Letter, float, bytes]] = []
        plain: list[str] = []
        for seen in self._brought_back(names, now):
            parcel, claim = self._parcels[seen.id], seen.claim
            if seen.end is not None or seen.entry is None or seen.entry.over:
                continue
            if claim is None and again:
                plain.append(seen.id)
            elif claim is None or (claim.kind == BACK and claim.holder == self._name):
                copy = self._copy(seen, claim, again=again)
                if copy is not None:
                    letter = _short(parcel)
                    letter.copy, letter.put = copy, seen.entry.put if parcel.expires is not None else 0.0
                    items.append((_job(parcel), letter, max(0.0, seen.entry.due - now), parcel.message))
        self._stored.publish(items)
        self._stored.intake.again(plain)
        self._bury([parcel for name in names if (parcel := self._parcels[name]).dead], again=again)

    def _copy(self, seen: Seen, claim: Claim | None, *, again: bool) -> str | None:
        """The name of the message that counts; None: an earlier one of it was received just now."""
        if claim is None:  # it may have been put here meanwhile: of two messages the one that is claimed counts
            return new_id()
        if not again:
            return claim.copies[0]
        new = msgspec.structs.replace(claim, copies=[new_id()])
        return new.copies[0] if self._ledger.swap(Note(key("c", seen.id), encode(new)), seen.claim_raw) else None

    def _brought_back(self, names: Sequence[str], now: float) -> list[Seen]:
        """These, among them jobs that left from here and have come back: messages of before their leave do not count."""
        found = self._ledger.look(names)
        back = [(each, self._parcels[each.id]) for each in found if away(each.claim)]
        if not back:
            return found
        self._ledger.write([note for _, parcel in back for note in self._notes(parcel, now, comes_back=True)])
        for each, parcel in back:
            if not parcel.dead:
                self._ledger.swap(Note(key("c", each.id), encode(self._claim(parcel, now))), each.claim_raw)
        return self._ledger.look(names)

    def _bury(self, parcels: Sequence[Parcel], *, again: bool) -> None:
        ends = self._ledger.read_as(End, [key("e", parcel.id) for parcel in parcels])
        dead = [parcel for parcel, end in zip(parcels, ends, strict=True) if end is not None and end.by == self._name]
        if not dead:
            return
        queues: dict[str, list[str]] = {}
        messages = []
        for parcel in dead:
            letter, job = _short(parcel), _job(parcel)
            letter.attempts, letter.copy = parcel.attempts, parcel.id if decoded(parcel.message) is None else ""
            queues.setdefault(job.queue, []).append(parcel.id)
            messages.append(letters.dead(self._broker.names, job.queue, parcel.id, parcel.message, letter))
        if again:
            Sweep(self._broker)({(queue, None): ids for queue, ids in queues.items()}, lambda: self._parcels)
        self._broker.send(messages, (), 0.0, queues)
        self._broker.tell(self._broker.names.ended, "", encode([parcel.id for parcel in dead]))


def _fit(parcel: Parcel) -> Parcel:
    """What cannot be kept here as it is becomes dead, and says why."""
    if parcel.dead:
        return parcel
    job = decoded(parcel.message)
    if job is None:
        why = Failure(UNDECODABLE, "its message cannot be decoded", at=time.time())
    elif job.ties and (job.ties.gates or job.ties.turn):
        why = Failure(REFUSED, "it has limits or turns, which RabbitMQ cannot keep", at=time.time())
    elif parcel.delay > LONGEST:
        why = Failure(REFUSED, f"RabbitMQ keeps no delay above {LONGEST:.0f} s", at=time.time())
    else:
        return parcel
    return msgspec.structs.replace(parcel, dead=True, failures=[*parcel.failures, why])


def _job(parcel: Parcel) -> Job:
    job = decoded(parcel.message) or Job(1, parcel.id, "", b"", parcel.queue, parcel.priority)
    return msgspec.structs.replace(job, ties=None)


def _put(parcel: Parcel, job: Job, now: float) -> float:
    """From when its expiry counts, so that it expires when it would have."""
    if job.expires is None:
        return now
    return NEVER if parcel.expires is None else now + parcel.expires - job.expires


def _failures(parcel: Parcel) -> list[Failure]:
    """Whole, where they fit a note."""
    return parcel.failures if len(encode(parcel.failures)) <= INLINE else decode_failures(_short(parcel).failures)


def _short(parcel: Parcel) -> Letter:
    """Its history, as headers hold it."""
    letter = Letter(parcel.attempts, parcel.returns)
    for failure in parcel.failures:
        letter.failures = letter.failed(failure)
    return letter
