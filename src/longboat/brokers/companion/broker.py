"""CompanionBroker: the parts put together, over one carrier and one store."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from longboat.brokers.companion.capabilities import CAPABILITIES
from longboat.brokers.companion.claims import Claims
from longboat.brokers.companion.consumer import CompanionConsumer, Worker
from longboat.brokers.companion.dependencies import Dependencies
from longboat.brokers.companion.endings import Endings
from longboat.brokers.companion.intake import Intake
from longboat.brokers.companion.ledger import Ledger
from longboat.brokers.companion.operate import CompanionInspector
from longboat.brokers.companion.results import CompanionResults
from longboat.brokers.companion.tidying import Tidying
from longboat.brokers.companion.transfer import CompanionTransfer
from longboat.contract.broker import Broker, Token
from longboat.contract.capabilities import Capability, unsupported
from longboat.contract.carrier import Carrier
from longboat.contract.inspector import Inspector
from longboat.contract.optional import Report, diagnosis
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core.clock import SYSTEM, Clock
from longboat.core.codec import encode_job
from longboat.core.job import Failure, Job


class CompanionBroker:
    """Jobs are as safe as the less durable of the two. Both are closed with this broker."""

    def __init__(self, carrier: Carrier, store: Broker, *, clock: Clock = SYSTEM) -> None:
        self.capabilities = CAPABILITIES & (carrier.capabilities | {Capability.TIDY})
        if Capability.DIAGNOSE in carrier.capabilities | store.capabilities:
            self.capabilities |= {Capability.DIAGNOSE}
        self.carrier = carrier
        self.store = store
        self.kv = store.kv
        self._ledger = ledger = Ledger(store.kv, carrier.namespace, clock)
        self._dependencies = Dependencies(ledger, carrier)
        self._endings = Endings(ledger, carrier, self._dependencies)
        self._intake = Intake(ledger, carrier, self._dependencies)
        self._tidying = Tidying(self._endings, store)
        self.results: ResultStore = CompanionResults(ledger, carrier)
        self.inspector: Inspector = CompanionInspector(self._endings, carrier, store)
        self.transfer: Transfer = CompanionTransfer(ledger, carrier, self._intake)

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        unique = {job.id: job for job in jobs}
        if not unique:
            return []
        bodies = {job.id: encode_job(job) for job in unique.values()}
        self.carrier.check({job.queue for job in unique.values()}, unique)
        name, longest = self.carrier.name, self.carrier.longest_delay
        for constraints in filter(None, (job.constraints for job in unique.values())):
            if constraints.limits:
                raise unsupported(Capability.LIMITS, name)
            if constraints.fairness_key:
                raise unsupported(Capability.FAIRNESS, name)
        if (delay := max(job.delay for job in unique.values())) > longest:
            raise unsupported(Capability.LONG_DELAYS, name, what=f"delay a job for more than {longest / 86400:.0f} days")
        for queue in {job.queue for job in unique.values() if job.expires is not None}:
            self.carrier.declare(queue, delay)  # its time runs from the put, not from when its queues were made
        return self._intake.put(unique, bodies, token)

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> CompanionConsumer:
        carrier, ledger, endings = self.carrier, self._ledger, self._endings
        receiver = carrier.receiver(queues, lease=lease, name=name, notified=True)
        try:
            claims = Claims(ledger, carrier, endings, self._dependencies, receiver.id, name or receiver.id)
            worker = Worker(name or receiver.id, list(dict.fromkeys(queues)), frozenset(tasks), lease)
            return CompanionConsumer(receiver, worker, claims, endings, carrier.send)
        except BaseException:
            receiver.close()
            raise

    def evict(self, consumer: str, failure: Failure) -> int:
        came = self._endings.evict(consumer, failure)
        return max(came, self.carrier.evict(consumer, failure))

    def tidy(self, budget: float) -> float:
        return self._tidying.tidy(budget)

    def diagnose(self) -> Report:
        """Of both, as far as they can be examined."""
        whole = diagnosis(self.carrier) or Report()
        if store := diagnosis(self.store):
            whole.facts |= {f"store: {name}": fact for name, fact in store.facts.items()}
            whole.findings += store.findings
        return whole

    def close(self) -> None:
        self.carrier.close()
        self.store.close()
