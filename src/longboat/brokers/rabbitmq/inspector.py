"""What can be seen and changed of messages alone: depths of queues, and the dead jobs.

Over AMQP those of the queues that this client has used or the stream names; of all where the management plugin tells what
queues there are.
"""

# ruff: noqa: ARG002  # parameters of the contract that RabbitMQ has no use for

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from longboat.brokers.rabbitmq.capabilities import unsupported
from longboat.brokers.rabbitmq.carrier import RabbitmqCarrier
from longboat.brokers.rabbitmq.queues_seen import QueuesSeen
from longboat.contract.capabilities import Capability
from longboat.contract.carrier import NEVER, Delivery, Envelope, Message
from longboat.contract.chains import chain_or_none
from longboat.contract.flow_ends import FlowEnds
from longboat.contract.held import Held
from longboat.contract.replies import RepliedResults, Replies
from longboat.contract.revoked import Revoked
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.codec import decode_failures
from longboat.core.job import DEFAULT_KEEP, Job, Result, State
from longboat.core.views import ConsumerView, JobView, LimitView, Page, job_or_none, job_view


class RabbitmqInspector:
    def __init__(
        self,
        carrier: RabbitmqCarrier,
        results: RepliedResults,
        revoked: Revoked,
        held: Held,
        seen: QueuesSeen,
        flow_ends: FlowEnds,
    ) -> None:
        self._carrier = carrier
        self._results = results
        self._revoked = revoked
        self._held = held
        self._queues_seen = seen
        self._flow_ends = flow_ends

    def counts(self) -> Mapping[tuple[str, State], int]:
        self._queues_seen.learn()
        return self._carrier.depths()

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        raise unsupported(Capability.LOOKUP)

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """Dead jobs only, newest first. Each page looks at all of them, so a large one is better than many."""
        if state is not State.DEAD:
            raise unsupported(Capability.LISTS, f"list {state} jobs")
        views: list[JobView] = []
        for name in self._queues(queue):
            with self._carrier.look({(name, None): None}) as look:
                found = map(_view, look.found)
                views += [view for view in found if task in (None, view.task)]
        left = sorted((view for view in views if after is None or _place(view) > _read(after)), key=_place)
        return Page(left[:limit], _written(left[limit - 1]) if len(left) > limit else None)

    def consumers(self) -> list[ConsumerView]:
        raise unsupported(Capability.CONSUMERS)

    def cancel(self, ids: Sequence[str]) -> list[str]:
        """The first worker to come to one of these ends it; who runs one is told. Raises BrokerFull for very many."""
        ended = {result.id for result in self._results.known(ids) if result is not None and not result.of}
        wanted = [each for each in dict.fromkeys(ids) if each not in ended]
        if wanted:
            self._revoked.revoke(wanted)
        return wanted

    def retry(self, ids: Sequence[str]) -> list[str]:
        """Of the dead jobs in queues that this client has used; of all queues with the management plugin."""
        retried: list[str] = []
        for queue in self._queues(None):
            with self._carrier.look({(queue, None): ids}) as look:
                for each in look.found:
                    if (job := job_or_none(each.body)) is None:
                        continue
                    self._revoked.forget([job.id])
                    self._held.take(job)
                    old = each.envelope
                    again = Envelope(failures=old.failures, put=NEVER + SYSTEM.now(), reply=old.reply, chain=old.chain)
                    self._flow_ends.add(job, State.READY)
                    self._flow_ends.write()  # before it can end anew
                    self._untell(job, old)
                    self._results.forget(job.id)
                    self._carrier.send([Message(job.id, queue, job.priority, each.body, again)])
                    look.acknowledge([each])
                    retried.append(job.id)
        return retried

    def _untell(self, job: Job, envelope: Envelope) -> None:
        """Who was told that it is dead waits anew, also for what comes after it."""
        chain = chain_or_none(envelope.chain)
        address = chain.reply if chain else envelope.reply
        if address:
            replies = Replies(self._carrier.tell)
            replies.add(address, Result(job.id, State.READY, task=job.task), 0.0, chain.waiting() if chain else ())
            replies.send()

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        """Ready and dead jobs, of known queues. Ready are those that were not pushed to a worker yet."""
        if others := set(states) - {State.READY, State.DEAD}:
            names = ", ".join(sorted(others))
            raise unsupported(Capability.PURGE, f"purge jobs that are {names}, only those that are ready or dead")
        purged = 0
        if State.DEAD in states:
            for name in self._queues(queue):
                purged += self._purge_dead(name, limit - purged)
        if State.READY in states:
            self._queues_seen.learn()
            for name in self._carrier.ready_queues() if queue is None else [queue]:
                purged += self._drop(name, limit - purged)
        return purged

    def _drop(self, queue: str, limit: int) -> int:
        if limit <= 0:
            return 0
        dropped = self._carrier.drop(queue, limit)
        self._held.dropped(dropped)
        self._tell_purged(dropped)
        return len(dropped)

    def _tell_purged(self, dropped: Sequence[Delivery]) -> None:
        """Who waits for these, or for what comes after them, would wait for ever."""
        replies, now = Replies(self._carrier.tell), SYSTEM.now()
        for each in dropped:
            if (job := job_or_none(each.body)) is None:
                continue
            envelope, chain = each.envelope, chain_or_none(each.envelope.chain)
            failure = reasons.purged(now, envelope.attempts)
            result = Result(job.id, State.CANCELLED, None, failure, job.task, envelope.attempts)
            address = chain.reply if chain else envelope.reply
            replies.add(address, result, max(job.keep, DEFAULT_KEEP), chain.waiting() if chain else ())
            self._flow_ends.add(job, State.CANCELLED, chain)
        self._flow_ends.write()
        replies.send()

    def _purge_dead(self, queue: str, limit: int) -> int:
        if limit <= 0:
            return 0
        with self._carrier.look({(queue, None): None}) as look:
            doomed = look.found[:limit]
            look.acknowledge(doomed)
            return len(doomed)

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        raise unsupported(Capability.LIMITS)

    def prune(self, *, limit: int = 1000) -> int:
        return 0

    def _queues(self, queue: str | None) -> list[str]:
        if queue is not None:
            return [queue]
        self._queues_seen.learn()
        return self._carrier.dead_queues()


def _view(delivery: Delivery) -> JobView:
    envelope, job = delivery.envelope, job_or_none(delivery.body)
    return job_view(
        job,
        delivery.body,
        id=job.id if job else "",
        state=State.DEAD,
        queue=delivery.queue,
        attempts=envelope.attempts,
        failures=decode_failures(envelope.failures),
        ended=envelope.ended,
    )


def _place(view: JobView) -> tuple[float, str]:
    """In the list of dead jobs."""
    return -(view.ended or 0.0), view.id


def _written(view: JobView) -> str:
    return f"{view.ended or 0.0!r}:{view.id}"


def _read(after: str) -> tuple[float, str]:
    """The place that was written. Raises ValueError."""
    ended, _, job_id = after.partition(":")
    return -float(ended), job_id
