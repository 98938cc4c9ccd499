"""The companion over a carrier in memory: what the conformance suite and the model do not see."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from longboat import Longboat
from longboat.brokers.companion import CompanionBroker
from longboat.brokers.companion.entries import PutRecord
from longboat.brokers.companion.layout import KEY, LAYOUT
from longboat.brokers.companion.ledger import encode as encode_entry
from longboat.brokers.companion.listing import COUNTED
from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker, Settlement
from longboat.contract.capabilities import Capability
from longboat.contract.kv import Entry
from longboat.core.codec import encode
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Failure, Job, Retry, State, new_ids
from longboat.errors import BrokerError, ConfigError, StoreTooNew, Unsupported
from longboat.testing.clock import FakeClock
from longboat.testing.conformance.stage import job
from longboat.worker.options import options
from longboat.worker.worker import Worker
from tests.rigs.carrier import MemoryCarrier
from tests.rigs.waiting import until


class TellsNoQueues(MemoryCarrier):
    capabilities = MemoryCarrier.capabilities - {Capability.EVERY_QUEUE}


def companion(carrier: MemoryCarrier | None = None, store: MemoryBroker | None = None) -> CompanionBroker:
    return CompanionBroker(carrier or MemoryCarrier(), store or MemoryBroker())


def test_a_worker_that_names_no_queues_takes_those_of_its_tasks_where_the_broker_knows_of_none() -> None:
    app, ran = Longboat("memory://"), list[str]()

    @app.task(name="send", queue="mail")
    def send(to: str) -> None:
        ran.append(to)

    @app.task(name="clean")
    def clean(to: str) -> None:
        ran.append(to)

    def worker(broker: Broker) -> Worker:
        return Worker(broker, app.registry, options(), app.bus)

    with closing(companion(TellsNoQueues())) as broker, worker(broker) as at_work:
        assert at_work.link.options.queues == ("default", "mail")
        for name, queue in (("send", "mail"), ("clean", "default")):
            broker.put([Job(1, new_ids(1)[0], name, encode({"to": name}), queue)])
        until(lambda: sorted(ran) == ["clean", "send"])
    assert worker(companion()).link.options.queues == ()
    app.close()


def test_what_neither_can_keep_is_refused_before_anything_is_stored() -> None:
    carrier = MemoryCarrier()
    carrier.longest_delay = 31 * 24 * 3600.0
    broker = companion(carrier)
    for constraints in (Constraints(limits=[JobLimit("one", running=1)]), Constraints(fairness_key="a")):
        with pytest.raises(Unsupported, match="carrier in memory"):
            broker.put([job(), job(constraints=constraints)])
    with pytest.raises(Unsupported, match="delay"):
        broker.put([job(), job(delay=carrier.longest_delay + 1)])
    assert broker.inspector.counts() == {}


def test_entries_of_another_layout_are_refused_and_left_alone() -> None:
    store = MemoryBroker()
    companion(store=store).put([job()])
    assert store.kv.read("memory", [KEY]) == [encode(LAYOUT)]
    for version, kind, advice in ((LAYOUT + 1, StoreTooNew, "Upgrade Longboat"), (LAYOUT - 1, BrokerError, "another store")):
        store.kv.write("memory", [Entry(KEY, encode(version))])
        before = store.kv.entries("memory")
        calls: list[Callable[[CompanionBroker], object]] = [
            lambda broker: broker.put([job()]),
            lambda broker: broker.consumer(["q"], lease=15.0),
            lambda broker: broker.inspector.counts(),
            lambda broker: broker.results.get(["a"]),
        ]
        for call in calls:
            with pytest.raises(kind, match=advice):
                call(companion(store=store))
        assert store.kv.entries("memory") == before


def test_many_jobs_are_paged_by_id_and_counted_by_the_carrier() -> None:
    broker, ids = companion(), new_ids(COUNTED + 5)
    for at in range(0, len(ids), 1000):
        broker.put([job(id=name, priority=n) for n, name in enumerate(ids[at : at + 1000])])
    page = broker.inspector.jobs(State.READY, limit=10)
    assert [view.id for view in page.jobs] == ids[:10]
    assert [view.id for view in broker.inspector.jobs(State.READY, after=page.after, limit=2).jobs] == ids[10:12]
    assert broker.inspector.counts() == {("q", State.READY): len(ids)}
    with pytest.raises(ConfigError, match="not the `after`"):
        broker.inspector.jobs(State.DEAD, after="m/of-another-list")


def test_retrying_a_job_that_an_evicted_worker_gave_back_does_nothing() -> None:
    """It was taken for a retry that somebody had begun, and lost its attempts."""
    clock = FakeClock()
    broker = CompanionBroker(MemoryCarrier(clock), MemoryBroker(clock=clock), clock=clock)
    broker.put([sent := job()])
    consumer = broker.consumer(["q"], lease=60.0)
    (lease,) = consumer.receive(1, wait=0.0)
    consumer.settle([], started=[lease])
    broker.evict(consumer.id, Failure("Boom", "boom"))
    clock.advance(60.0)
    assert broker.inspector.retry([sent.id]) == []
    (view,) = broker.inspector.find([sent.id])
    assert view is not None
    assert (view.state, view.attempts) == (State.READY, 1)


@pytest.mark.parametrize("kind", "mce")
@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x91" * 5000, b"\x80", b"\x93\xa1x\xa1q\xc1"])
def test_entries_that_cannot_be_read_harm_nobody_else(kind: str, raw: bytes) -> None:
    """Of one job, in the store beside the carrier: its neighbours are received, looked at, cancelled and tidied."""
    with closing(companion()) as broker:
        sent = [job(expires=60.0) for _ in range(3)]
        broker.put(sent)
        broker.store.kv.write(broker.carrier.namespace, [Entry(f"{kind}/{sent[1].id}", raw)])
        assert len([view for view in broker.inspector.find([each.id for each in sent]) if view]) >= 2
        broker.inspector.counts()
        broker.inspector.jobs(State.READY)
        consumer = broker.consumer(["q"], lease=60.0)
        leases = consumer.receive(3, wait=1.0)
        assert {sent[0].id, sent[2].id} <= {lease.job.id for lease in leases}
        consumer.settle([Settlement(lease, Retry(60.0, Failure("E", "m"))) for lease in leases])
        broker.store.kv.write(broker.carrier.namespace, [Entry(f"{kind}/{sent[1].id}", raw)])
        broker.tidy(0.1)
        assert {sent[0].id, sent[2].id} <= set(broker.inspector.cancel([each.id for each in sent]))
        assert broker.inspector.purge([State.CANCELLED]) >= 2
        consumer.close()


def test_a_stored_message_that_cannot_be_read_stops_no_housekeeping() -> None:
    clock = FakeClock()
    with closing(CompanionBroker(MemoryCarrier(clock), MemoryBroker(clock=clock), clock=clock)) as broker:
        bad, good = job(expires=1.0), job(expires=1.5)
        broker.put([bad, good])
        broken = PutRecord(bad.id, "q", b"\xc1", put=clock.now())
        broker.store.kv.write(broker.carrier.namespace, [Entry(f"m/{bad.id}", encode_entry(broken))])
        clock.advance(2.0)
        until(lambda: broker.tidy(0.1) >= 0 and broker.inspector.find([good.id])[0].state is State.CANCELLED)  # type: ignore[union-attr]  # it is there
        assert broker.inspector.cancel([bad.id]) == []
        broker.inspector.counts()
