"""Clauses about many threads and clients at once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from longboat.contract.broker import Broker, Consumer, Lease, Settlement
from longboat.contract.capabilities import Capability
from longboat.core.job import Done, Outcome, Release, Retry, State
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import BOOM, Stage, check, ids, job, limits, meanwhile, same, some, take_all

JOBS = 240


class _Ledger:
    """Who holds what, as the threads of a clause see it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self.done: list[str] = []
        self.twice: list[str] = []
        self.end = time.monotonic() + limits.churn

    def over(self) -> bool:
        return len(self.done) >= JOBS or time.monotonic() > self.end

    def take(self, names: list[str]) -> None:
        with self._lock:
            self.twice += [name for name in names if name in self._held]
            self._held.update(names)

    def drop(self, names: list[str]) -> None:
        """Before the settle: from then on somebody else may hold them."""
        with self._lock:
            self._held.difference_update(names)

    def finish(self, names: list[str]) -> None:
        with self._lock:
            self.done += names


def _outcome(chance: random.Random) -> Outcome:
    outcomes: list[Outcome] = [Done(b"x"), Release(), Release(0.01), Retry(0.0, BOOM), Retry(0.01, BOOM)]
    return chance.choices(outcomes, weights=[2, 1, 1, 1, 1])[0]


def _work(on: Stage, broker: Broker, ledger: _Ledger, seed: int) -> None:
    """Receive and settle at random, now and then closing the consumer with leases in hand, or being evicted."""
    chance = random.Random(seed)
    consumer = on.consumer(of=broker)
    while not ledger.over():
        leases = consumer.receive(chance.randint(1, 9), wait=0.02)
        names = ids(leases)
        ledger.take(names)
        if chance.random() < 0.1:
            ledger.drop(names)
            consumer.close() if chance.random() < 0.5 else broker.evict(consumer.id, BOOM)
            consumer = on.consumer(of=broker)
            continue
        settlements = [Settlement(lease, _outcome(chance)) for lease in leases]
        ledger.drop(names)
        same(consumer.settle(settlements, started=leases), [], "settlements refused of leases that are held")
        ledger.finish([each.lease.job.id for each in settlements if isinstance(each.outcome, Done)])
        consumer.extend()


def _produce(broker: Broker, names: list[str], seed: int) -> Callable[[], None]:
    """Put the same ids as every other producer, in another order and other batches."""
    chance = random.Random(seed)
    names = names.copy()
    chance.shuffle(names)

    def produce() -> None:
        rest = names
        while rest:
            n = chance.randint(1, 20)
            broker.put([job(name, priority=chance.randint(-1, 1)) for name in rest[:n]])
            rest = rest[n:]

    return produce


@clause(needs={Capability.IDS, Capability.EVICT, Capability.COUNTS})
def every_job_ends_exactly_once(on: Stage) -> None:
    """With producers of the same ids, workers that release, retry, close and die, over several clients, every job is
    held by one at a time and succeeds once."""
    names = ids(some(JOBS))
    brokers = [on.broker, on.another()]
    ledger = _Ledger()
    threads = [meanwhile(_produce(brokers[n % 2], names, n)) for n in range(3)]
    threads += [meanwhile(lambda n=n: _work(on, brokers[n % 2], ledger, n)) for n in range(4)]  # type: ignore[misc]  # mypy cannot type a default of a lambda
    for join in threads:
        join()
    same(ledger.twice, [], "jobs held by two at once")
    same(sorted(ledger.done) == sorted(names), True, f"{len(ledger.done)} ends for {JOBS} jobs, each job once")
    same(dict(on.broker.inspector.counts()), {("q", State.SUCCEEDED): JOBS}, "counts in the end")


@clause(needs={Capability.EVICT, Capability.COUNTS})
def no_job_is_ever_out_of_sight(on: Stage) -> None:
    """While jobs change hands, every look at the counts finds all of them, in some state."""
    on.put(*some(JOBS))
    ledger = _Ledger()
    other = on.another()
    threads = [meanwhile(lambda n=n: _work(on, other, ledger, n)) for n in range(3)]  # type: ignore[misc]  # mypy cannot type a default of a lambda
    looks = 0
    while not ledger.over():
        looks += 1
        same(sum(on.broker.inspector.counts().values()), JOBS, f"jobs in all at look {looks}")
    for join in threads:
        join()
    same(dict(on.broker.inspector.counts()), {("q", State.SUCCEEDED): JOBS}, "counts in the end")


@clause(needs={Capability.COUNTS})
def one_consumer_serves_several_threads(on: Stage) -> None:
    """While one thread receives, others settle, extend and wake the same consumer, and none waits for the receive."""
    consumer = on.consumer()
    on.put(*some(20))
    leases = take_all(consumer, 20)
    receiving = meanwhile(lambda: _receive_patiently(consumer))
    time.sleep(0.05)
    began = time.monotonic()
    threads = [meanwhile(lambda part=leases[n::4]: _settle_singly(consumer, part)) for n in range(4)]  # type: ignore[misc]  # mypy cannot type a default of a lambda
    for join in threads:
        join()
    check(time.monotonic() - began < limits.prompt, "settles and heartbeats waited for a receive")
    on.put(*some(1))
    same(len(receiving()), 1, "jobs received meanwhile")
    same(on.broker.inspector.counts()["q", State.SUCCEEDED], 20, "jobs settled")


def _receive_patiently(consumer: Consumer) -> list[str]:
    return ids(take_all(consumer, 1))


def _settle_singly(consumer: Consumer, leases: list[Lease]) -> None:
    for lease in leases:
        same(consumer.settle([Settlement(lease, Done(b""))], started=[lease]), [], "refused settlements")
        check(consumer.extend().alive, "a living consumer was declared lost")
        consumer.wake()
