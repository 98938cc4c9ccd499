"""RabbitmqBroker: a broker of messages alone, which is what a carrier is by itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from longboat.brokers.rabbitmq.capabilities import CAPABILITIES, unsupported
from longboat.brokers.rabbitmq.carrier import RabbitmqCarrier
from longboat.brokers.rabbitmq.inspector import RabbitmqInspector
from longboat.contract.broker import Token
from longboat.contract.capabilities import Capability, absent
from longboat.contract.carried import CarriedConsumer, message_of
from longboat.contract.carrier import Envelope, Message
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core.clock import SYSTEM
from longboat.core.codec import encode_job
from longboat.core.constraints import Constraints
from longboat.core.job import Failure, Job


class RabbitmqBroker:
    """Nothing is known of earlier puts, neither ids nor tokens; nothing of a job is kept when it has ended."""

    capabilities = CAPABILITIES

    def __init__(self, carrier: RabbitmqCarrier) -> None:
        self.carrier = carrier
        self.results: ResultStore = absent(unsupported(Capability.RESULTS))
        self.kv: KV = absent(unsupported(Capability.KV))
        self.inspector: Inspector = RabbitmqInspector(carrier)
        self.transfer: Transfer = absent(unsupported(Capability.TRANSFER))
        self.diagnose = carrier.diagnose

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:  # noqa: ARG002  # as its protocol has it
        unique = {job.id: job for job in jobs}
        messages: list[Message] = []
        blank, dated = Envelope(), Envelope(put=SYSTEM.now())
        for job in unique.values():
            body = encode_job(job)
            if job.constraints:
                _check(job.constraints)
            envelope = blank if job.expires is None else dated
            messages.append(message_of(job, body, envelope, job.delay))
        self.carrier.check({job.queue for job in unique.values()}, unique)
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


def _check(constraints: Constraints) -> None:
    """Raises Unsupported for what messages alone cannot keep."""
    if constraints.limits:
        raise unsupported(Capability.LIMITS)
    if constraints.fairness_key:
        raise unsupported(Capability.FAIRNESS)
    if constraints.after:
        raise unsupported(Capability.DEPENDENCIES)
