"""Stored: what a RabbitMQ broker does together with the store beside it, for whoever puts, settles, cancels or evicts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from longboat.brokers.rabbitmq import envelope as envelopes
from longboat.brokers.rabbitmq.entries import BACK, HELD, OVER, Claim, End, children, key, pair
from longboat.brokers.rabbitmq.envelope import Envelope
from longboat.brokers.rabbitmq.followers import Followers
from longboat.brokers.rabbitmq.intake import Intake
from longboat.brokers.rabbitmq.ledger import Ledger, Seen, back, encode
from longboat.brokers.rabbitmq.packing import left_alone, marked
from longboat.contract.broker import Broker
from longboat.contract.kv import Entry
from longboat.core.codec import decode_failures, decode_job
from longboat.core.job import Failure, Job, State, new_id
from longboat.core.reasons import CANCELLED, EXPIRED
from longboat.errors import BrokerError

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker

WENT, LOOKS, PAUSE = 404, 50, 0.01
"""The server's reply where a queue is gone; looks at whether a consumer's is, and the seconds between them."""

REVIVING = 10.0
"""Seconds after which a revival that nobody has received may be made again: who began it may have died over it."""


class Ending(msgspec.Struct):
    """A job, its message, and how it ends."""

    job: Job
    message: bytes
    end: End


class Stored:
    def __init__(self, broker: RabbitmqBroker, store: Broker) -> None:
        self.broker = broker
        self.store = store
        self.ledger = Ledger(store.kv, broker.names.prefix)
        self.followers = Followers(self.ledger, self.publish, broker.prepare)
        self.intake = Intake(self.ledger, self.followers, self.publish)

    def publish(self, items: Sequence[tuple[Job, Envelope, float, bytes]]) -> None:
        """To their ready queues, by way of their delays."""
        if items:
            names = self.broker.names
            messages = [envelopes.ready(names, job, envelope, delay, message) for job, envelope, delay, message in items]
            self.broker.send(messages, {job.queue for job, *_ in items}, max(delay for _, _, delay, _ in items))

    def end(self, endings: Sequence[Ending], entries: Sequence[Entry] = (), *, queued: bool = False) -> list[bool]:
        """Have these jobs end, and write `notes` with that; tells of each whether this end is the one that holds.

        The end is written first, and what follows of it can be done again by whoever finds it.
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
        self._follow([Ending(decode_job(message), message, end)], done, ())

    def _follow(
        self, endings: Sequence[Ending], done: dict[str, bytes], entries: Sequence[Entry], *, queued: bool = False
    ) -> None:
        if done:
            self.followers.succeeded(done)
        self._bury([each for each in endings if each.end.state is State.DEAD])
        over = [entry for each in endings for entry in self.ledger.forget(each.job, each.end, queued=queued)]
        self.ledger.write([*over, *entries])
        self.broker.tell(self.broker.names.ended, "", encode([each.end.id for each in endings]))

    def _bury(self, endings: Sequence[Ending]) -> None:
        messages = []
        for each in endings:
            short = Envelope()
            for failure in each.end.failures:
                short.failures = short.failed(failure)
            short.attempts = each.end.attempts
            messages.append(envelopes.dead(self.broker.names, each.job.queue, each.job.id, each.message, short))
        if messages:
            self.broker.send(messages, (), 0.0, {each.job.queue for each in endings})

    def cancelled(self, job: Job, message: bytes, by: str, *, attempts: int, failures: bytes) -> Ending:
        failure = Failure(CANCELLED, "its cancellation was asked for", at=time.time())
        told = [*decode_failures(failures), failure]
        return Ending(job, message, self.ledger.ended(job, State.CANCELLED, by, attempts=attempts, failures=told))

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

    def end_due(self, limit: int = 100) -> None:
        """Jobs that nobody holds and whose time is over end: they have expired, or were parked for too long."""
        now = time.time()
        due = self.ledger.kv.entries(self.ledger.namespace, after="x/", before=f"x/{int(now * 1000) + 1:015d}", limit=limit)
        over: dict[str, Ending] = {}
        seen = self.ledger.look([raw.decode() for _, raw in due])
        for each in seen:
            if ending := self._due(each, now):
                over[each.id] = ending
        taken = self.take([each for each in seen if each.id in over])
        self.end([over[each.id] for each in taken], queued=True)
        self.ledger.write([Entry(name, None) for name, _ in due])

    def _due(self, seen: Seen, now: float) -> Ending | None:
        """None: its time is not over, or somebody holds it; then who takes it over sees to that."""
        put_record, claim, state = seen.put_record, seen.claim or Claim(BACK, []), seen.state(now)
        if put_record is None or state is None or state.ended or claim.kind == HELD:
            return None
        message = self.ledger.message(seen)
        job, failures = decode_job(message), decode_failures(claim.failures)
        if 0 < claim.parked <= now:
            end, failures = State.DEAD, [*failures, *decode_failures(claim.why)]
        elif not claim.attempts and job.expires is not None and put_record.put + job.expires <= now:
            end, failures = State.CANCELLED, [*failures, Failure(EXPIRED, "it expired before it started", at=now)]
        else:
            return None
        by = f"due {new_id()}"
        return Ending(job, message, self.ledger.ended(job, end, by, attempts=claim.attempts, failures=failures))

    # --- consumers of others

    def evict(self, consumer: str, failure: Failure) -> int:
        """What it has claimed comes back, charged with `failure` where it had started; then its connection ends."""
        came = 0
        for seen in self.ledger.holdings(consumer):
            if seen.claim is None:
                continue
            new = back(seen.claim, failure, started=seen.started)
            if not self.ledger.compare_and_set(Entry(key("c", seen.id), encode(new)), seen.claim_raw):
                continue
            came += 1
            if seen.asked:
                message = self.ledger.message(seen)
                by = f"{consumer} evicted"
                self.end(
                    [self.cancelled(decode_job(message), message, by, attempts=new.attempts, failures=new.failures)],
                    [Entry(pair("a", consumer, seen.id), None)],
                    queued=True,
                )
        self.gone(consumer)
        self.broker.tell("", self.broker.names.ear(consumer), b"over")
        self._await_end(consumer)
        return came

    def gone(self, consumer: str) -> None:
        """It holds nothing any more."""
        held = [name for name, _ in self.ledger.between(f"h/{consumer}/", f"h/{consumer}0")]
        asked = [name for name, _ in self.ledger.between(*children("a", consumer))]
        started = [name for name, _ in self.ledger.between(*children("s", consumer))]
        self.ledger.write([Entry(name, None) for name in (key("p", consumer), *held, *asked, *started)])

    def _await_end(self, consumer: str) -> None:
        """Until its queue has gone with its connection, or for half a second."""
        for _ in range(LOOKS):
            if self.silent(consumer):
                return
            time.sleep(PAUSE)

    def silent(self, consumer: str) -> bool:
        """Whether its connection is gone, and the queue by which it hears with that."""
        ear = self.broker.names.ear(consumer)
        link = self.broker.link("longboat-rabbitmq-evict")
        try:
            link.do(lambda channel, answered: channel.queue_declare(ear, passive=True, callback=answered))
        except BrokerError:
            return getattr(link.lost, "reply_code", 0) == WENT
        finally:
            link.close()
        return False

    def retry(self, job: Job, message: bytes, seen: Seen) -> bool:
        """Have a dead job be ready again; False where it is not dead any more."""
        if marked(seen.claim):
            seen = left_alone(self.ledger, job.id)
        now, claim = time.time(), seen.claim
        begun = seen.end is None and claim is not None and claim.kind == BACK and 0 < claim.at < now - REVIVING
        if marked(claim) or (not begun and (seen.end is None or seen.end.state is not State.DEAD)):
            return False
        envelope = Envelope(put=float("1e10"), copy=new_id(), failures=claim.failures if begun and claim else b"")
        for failure in seen.end.failures if seen.end else ():
            envelope.failures = envelope.failed(failure)
        new = Claim(BACK, [envelope.copy], failures=envelope.failures, at=now)
        if not self.ledger.compare_and_set(Entry(key("c", job.id), encode(new)), seen.claim_raw):
            return False
        afresh = msgspec.structs.replace(job, delay=0.0, constraints=None)  # it waits for nothing any more
        self.ledger.write([*self.ledger.entered(afresh, message, now), Entry(key("e", job.id), None)])
        self.publish([(job, envelope, 0.0, message)])
        return True
