"""RabbitmqBroker: a broker of messages alone, which is what a carrier is by itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from longboat.brokers.rabbitmq.carrier import RabbitmqCarrier
from longboat.brokers.rabbitmq.inspector import RabbitmqInspector
from longboat.brokers.rabbitmq.missing import MISSING, NoKV, NoResults, unsupported
from longboat.contract.broker import Token
from longboat.contract.carried import CarriedConsumer, message_of
from longboat.contract.carrier import Envelope, Message
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core.clock import SYSTEM
from longboat.core.codec import encode_job
from longboat.core.job import Failure, Job


class RabbitmqBroker:
    """Nothing is known of earlier puts, neither ids nor tokens; nothing of a job is kept when it has ended."""

    missing: frozenset[str] = MISSING

    def __init__(self, carrier: RabbitmqCarrier) -> None:
        self.carrier = carrier
        self.results: ResultStore = NoResults()
        self.kv: KV = NoKV()
        self.inspector: Inspector = RabbitmqInspector(carrier)

    @property
    def transfer(self) -> Transfer:
        raise unsupported("moving jobs from and to other brokers (it needs a store: give results=)")

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:  # noqa: ARG002
        unique = {job.id: job for job in jobs}
        messages: list[Message] = []
        blank, dated = Envelope(), Envelope(put=SYSTEM.now())
        for job in unique.values():
            if job.constraints:
                if job.constraints.limits or job.constraints.fairness_key:
                    raise unsupported("a job that has limits or turns")
                if job.constraints.after:
                    raise unsupported("a job that comes after others (it needs a store: ?results=redis://…)")
            envelope = blank if job.expires is None else dated
            messages.append(message_of(job, encode_job(job), envelope, job.delay))
        if messages:
            if dating := {job.queue for job in unique.values() if job.expires is not None}:
                for queue in dating:  # its time runs from the put, not from when its queues were made
                    self.carrier.declare(queue, max(message.delay for message in messages))
                dated.put = SYSTEM.now()
            self.carrier.send(messages)
        return list(unique)

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> CarriedConsumer:
        receiver = self.carrier.receiver(queues, lease=lease, name=name)
        return CarriedConsumer(receiver, self.carrier.send, frozenset(tasks), SYSTEM)

    def evict(self, consumer: str, failure: Failure) -> int:
        return self.carrier.evict(consumer, failure)

    def close(self) -> None:
        self.carrier.close()
