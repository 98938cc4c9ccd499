"""SimpleBroker over a driver, and results by polling: every clause of what such a driver can be given, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from longboat import Longboat
from longboat.brokers.manager import ManagerBroker, Server
from longboat.brokers.memory import MemoryBroker
from longboat.connect import BUILT_IN
from longboat.contract.broker import Broker, Consumer, Lease, Pulse, Settlement, Token
from longboat.contract.capabilities import WHOLE_CONTRACT, Capability, lacking
from longboat.contract.polled import PolledResults
from longboat.contract.simple import Hold, SimpleBroker
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Done, Job, Park, Release, State
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.testing.conformance import CLAUSES, Clause
from longboat.testing.conformance.stage import BOOM, job, some
from tests.rigs.harnesses import NewMemory

DERIVED = WHOLE_CONTRACT - {
    Capability.WAKE,
    Capability.PUSH,
    Capability.EVICT,
    Capability.CONSUMERS,
    Capability.CANCEL,
}
"""What five verbs can be held to; for the rest a store wakes, tells, or knows its consumers."""


class MemoryDriver:
    """Five verbs of the memory broker, as somebody else would write them for his store."""

    name = "The drawer"

    def __init__(self, broker: MemoryBroker, capabilities: frozenset[Capability] = DERIVED) -> None:
        self.broker = broker
        self.capabilities = capabilities
        self._consumers: dict[str, Consumer] = {}
        self.settled: list[Settlement] = []

    def put(self, jobs: Sequence[Job], token: Token | None) -> list[str]:
        return self.broker.put(jobs, token=token)

    def receive(self, hold: Hold, n: int, _wait: float) -> list[Lease]:
        consumer = self._consumers[hold.id]
        consumer.pause(hold.paused_queues, hold.paused_tasks)
        return consumer.receive(n, wait=0.0)

    def settle(self, hold: Hold, settlements: Sequence[Settlement], started: Sequence[Lease]) -> list[Lease]:
        self.settled += settlements
        return self._consumers[hold.id].settle(settlements, started=started)

    def extend(self, hold: Hold) -> Pulse:
        if not hold.beats:
            self._consumers[hold.id] = self.broker.consumer(hold.queues, lease=hold.lease, tasks=hold.tasks, name=hold.name)
        self.broker.tidy(0.01)  # a driver keeps house where it can: nobody else has it done
        return self._consumers[hold.id].extend()

    def close(self) -> None:
        """The jobs stay for who still holds the broker."""


def simple(broker: MemoryBroker, capabilities: frozenset[Capability] = DERIVED) -> SimpleBroker:
    return SimpleBroker(
        MemoryDriver(broker, capabilities),
        results=PolledResults(broker.results.get, poll=0.02),
        inspector=broker.inspector,
        kv=broker.kv,
        transfer=broker.transfer,
    )


class NewSimple(NewMemory):
    def open(self) -> Broker:
        return simple(self.broker)


@pytest.mark.slow
@pytest.mark.parametrize("clause", [each for each in CLAUSES if each.needs <= DERIVED], ids=lambda clause: clause.name)
def test_five_verbs_keep_every_clause_of_what_they_declare(clause: Clause, tmp_path: Any) -> None:
    clause.check(NewSimple(tmp_path, SYSTEM))


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver(MemoryBroker(), frozenset())


@pytest.mark.parametrize(
    ("call", "lacks"),
    [
        (lambda broker: broker.results.get(["x"]), Capability.RESULTS),
        (lambda broker: broker.results.listen(), Capability.RESULTS),
        (lambda broker: broker.kv.read("x", ["x"]), Capability.KV),
        (lambda broker: broker.transfer.unconfirmed(), Capability.TRANSFER),
        (lambda broker: broker.inspector.counts(), Capability.COUNTS),
        (lambda broker: broker.inspector.find(["x"]), Capability.LOOKUP),
        (lambda broker: broker.inspector.jobs(State.READY), Capability.LISTS),
        (lambda broker: broker.inspector.jobs(State.DEAD), Capability.DEAD_JOBS),
        (lambda broker: broker.inspector.consumers(), Capability.CONSUMERS),
        (lambda broker: broker.inspector.cancel(["x"]), Capability.CANCEL),
        (lambda broker: broker.inspector.retry(["x"]), Capability.DEAD_JOBS),
        (lambda broker: broker.inspector.purge([State.READY]), Capability.PURGE),
        (lambda broker: broker.inspector.limits(["x"]), Capability.LIMITS),
        (lambda broker: broker.put([job(expires=1.0)]), Capability.EXPIRY),
        (lambda broker: broker.put([job(constraints=Constraints(after=["x"]))]), Capability.DEPENDENCIES),
        (lambda broker: broker.put([job(constraints=Constraints(limits=[JobLimit("x", 1)]))]), Capability.LIMITS),
        (lambda broker: broker.put([job(constraints=Constraints(fairness_key="x"))]), Capability.FAIRNESS),
        (lambda broker: broker.consumer([], lease=1.0), Capability.EVERY_QUEUE),
    ],
)
def test_what_it_lacks_raises_with_a_sentence(
    call: Callable[[Broker], object], lacks: Capability, driver: MemoryDriver
) -> None:
    with pytest.raises(Unsupported) as raised:
        call(SimpleBroker(driver))
    assert str(raised.value).startswith(f"The drawer cannot {lacks.sentence}. ")
    assert "Brokers that can: SQLite, Redis" in str(raised.value)
    assert dict(driver.broker.inspector.counts()) == {}


def test_a_job_whose_task_nobody_knows_comes_back_where_parking_is_lacking(driver: MemoryDriver) -> None:
    broker = SimpleBroker(driver)
    broker.put(some(1))
    consumer = broker.consumer(["q"], lease=60.0)
    consumer.settle([Settlement(consumer.receive(1, wait=1.0)[0], Park(3600.0, BOOM))])
    assert driver.settled[-1].outcome == Release(5.0)


def test_a_settle_that_failed_may_be_tried_again(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = SimpleBroker(driver)
    broker.put(some(1))
    consumer = broker.consumer(["q"], lease=60.0)
    settlement = Settlement(consumer.receive(1, wait=1.0)[0], Done(b""))
    with monkeypatch.context() as patch:

        def fail(*_: object) -> list[Lease]:
            raise BrokerUnavailable("no")

        patch.setattr(driver, "settle", fail)
        with pytest.raises(BrokerUnavailable):
            consumer.settle([settlement])
    assert consumer.settle([settlement]) == []
    assert consumer.settle([settlement]) == [settlement.lease]


def test_what_is_received_while_it_closes_is_handed_back(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = SimpleBroker(driver)
    broker.put(some(1))
    consumer = broker.consumer(["q"], lease=60.0)
    receive = driver.receive

    def slowly(hold: Hold, n: int, wait: float) -> list[Lease]:
        leases = receive(hold, n, wait)
        consumer.close()
        return leases

    monkeypatch.setattr(driver, "receive", slowly)
    assert consumer.receive(1, wait=1.0) == []
    assert dict(driver.broker.inspector.counts()) == {("q", State.READY): 1}


def drawer(_url: str, _options: dict[str, str]) -> SimpleBroker:
    return SimpleBroker(MemoryDriver(MemoryBroker(), frozenset()))


def test_a_worker_runs_jobs_on_five_verbs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "drawer", f"{__name__}:drawer")
    app = Longboat("drawer://")
    ran = []

    @app.task(name="double")
    def double(n: int) -> None:
        ran.append(2 * n)

    handle = double.enqueue(4)
    with app.worker(queues=["default"], burst=True) as worker:
        assert worker.finished.wait(10)
    assert ran == [8]
    with pytest.raises(Unsupported, match="The drawer cannot keep the results of jobs"):
        handle.result(timeout=1)


def test_what_is_lacking_is_listed_in_order(driver: MemoryDriver) -> None:
    assert lacking(SimpleBroker(driver)) == [each for each in Capability if each in WHOLE_CONTRACT]
    assert lacking(MemoryBroker()) == []


def test_a_manager_has_the_capabilities_of_the_store_behind_its_server(driver: MemoryDriver) -> None:
    driver.capabilities = frozenset({Capability.PLACE, Capability.TRANSACTIONAL})
    with Server(SimpleBroker(driver), ("127.0.0.1", 0), bytes(32)) as server:
        broker = ManagerBroker(*server.address, authkey=bytes(32))
        assert broker.capabilities == {Capability.PLACE}, "what a client has no method for is left out"
        with pytest.raises(Unsupported, match="The drawer cannot list the workers"):
            broker.inspector.consumers()
        broker.close()
