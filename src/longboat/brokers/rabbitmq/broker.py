"""RabbitmqBroker: a broker of messages alone, which is what a carrier is by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from longboat.brokers.rabbitmq.capabilities import CAPABILITIES, unsupported
from longboat.brokers.rabbitmq.carrier import RabbitmqCarrier
from longboat.brokers.rabbitmq.inspector import RabbitmqInspector
from longboat.brokers.rabbitmq.queues_seen import QueuesSeen
from longboat.brokers.rabbitmq.stream import StreamKV
from longboat.contract.broker import Token
from longboat.contract.capabilities import Capability, absent
from longboat.contract.carried import Alone, CarriedConsumer
from longboat.contract.carrier import Envelope, Message
from longboat.contract.chains import Chain, Succeeded, chained
from longboat.contract.flow_ends import FlowEnds
from longboat.contract.held import Held
from longboat.contract.inspector import Inspector
from longboat.contract.messages import message_of
from longboat.contract.replies import RepliedResults
from longboat.contract.revoked import Revoked
from longboat.contract.transfer import Transfer
from longboat.core.clock import SYSTEM
from longboat.core.codec import encode_job
from longboat.core.constraints import Constraints
from longboat.core.job import Failure, Job, new_id
from longboat.errors import Unsupported

JOBS_OF_OTHERS = "tell the results of jobs that another process enqueued"


class RabbitmqBroker:
    """A process is told how the jobs that it put have ended, while it lives.

    Nothing is known of earlier puts, neither ids nor tokens; nothing of a job is kept when it has ended.
    """

    capabilities = CAPABILITIES

    def __init__(self, carrier: RabbitmqCarrier) -> None:
        self.carrier = carrier
        self.results = RepliedResults(carrier, lambda: unsupported(Capability.RESULTS, JOBS_OF_OTHERS))
        self.kv = StreamKV(carrier.session)
        self._revoked = Revoked(self.kv)
        self._held = Held(self.kv)
        self._flow_ends = FlowEnds(self.kv)
        self._seen = QueuesSeen(self.kv, carrier.session.queues)
        self.inspector: Inspector = RabbitmqInspector(
            carrier, self.results, self._revoked, self._held, self._seen, self._flow_ends
        )
        self.transfer: Transfer = absent(unsupported(Capability.TRANSFER))
        self.diagnose = carrier.diagnose
        self.revoke_all = self._revoked.revoke_all
        self.broadcast = carrier.broadcast
        self.overhear = carrier.overhear
        self._succeeded = Succeeded()

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        unique = {job.id: job for job in jobs}
        bodies: dict[str, bytes] = {}
        chains = False
        for job in unique.values():
            bodies[job.id] = encode_job(job)
            if job.constraints:
                _check(job.constraints)
                chains = chains or bool(job.constraints.after)
        queues = {job.queue for job in unique.values()}
        self.carrier.check(queues, unique)
        if not unique:
            return []
        for queue in {job.queue for job in unique.values() if job.expires is not None}:
            # Its time runs from the put, not from when its queues were made.
            self.carrier.declare(queue, max(job.delay for job in unique.values()))
        replied = [job for job in unique.values() if job.keep > 0]
        reply, now = self.results.expect(replied) if replied else "", SYSTEM.now()
        envelopes = {
            (expires, kept): Envelope(put=now if expires else 0.0, reply=reply if kept else "")
            for expires in (True, False)
            for kept in (True, False)
        }
        messages = [
            message_of(job, bodies[job.id], envelopes[job.expires is not None, job.keep > 0], job.delay)
            for job in unique.values()
        ]
        if chains:
            messages = self._joined(messages, unique, Chain("{}.{}".format(*token) if token else new_id(), now, reply, []))
        self.carrier.send(messages)
        if self._seen.any:
            self._seen.note(queues)
        return list(unique)

    def _joined(self, messages: list[Message], jobs: Mapping[str, Job], chain: Chain) -> list[Message]:
        """The first message of each chain, with the others in it."""
        longest = self.carrier.longest_delay
        if max(job.delay for job in jobs.values()) > longest:
            raise unsupported(Capability.LONG_DELAYS, f"delay a job for more than {longest / 86400:.0f} days")
        encoded = chained(jobs, {each.id: each.body for each in messages}, chain, _not_in_a_chain)
        for each in messages:
            if each.id in encoded:
                each.envelope = msgspec.structs.replace(each.envelope, chain=encoded[each.id])
        return [each for each in messages if not (it := jobs[each.id].constraints) or not it.after]

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> CarriedConsumer:
        self._revoked.open()
        receiver = self.carrier.receiver(queues, lease=lease, name=name)
        self._seen.note(queues)
        alone = Alone(self.carrier.tell, self._succeeded, self._revoked, self._held, self._flow_ends)
        return CarriedConsumer(receiver, self.carrier.send, frozenset(tasks), SYSTEM, alone)

    def evict(self, consumer: str, failure: Failure) -> int:
        return self.carrier.evict(consumer, failure)

    def close(self) -> None:
        self.results.close()
        self.kv.close()
        self.carrier.close()


def _check(constraints: Constraints) -> None:
    """Raises Unsupported for what messages alone cannot keep."""
    if constraints.limits:
        raise unsupported(Capability.LIMITS)
    if constraints.fairness_key:
        raise unsupported(Capability.FAIRNESS)


def _not_in_a_chain(what: str) -> Unsupported:
    return unsupported(Capability.DEPENDENCIES, what)
