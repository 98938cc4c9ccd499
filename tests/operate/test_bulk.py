"""Bulk actions and moving jobs into another queue: what is meant, what is done, what is left, and what a crash leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import FORGOTTEN_AFTER, Broker, Settlement
from longboat.contract.capabilities import Capability
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints
from longboat.core.job import Dead, Done, Failure, Job, State, new_id
from longboat.errors import BrokerUnavailable, ConfigError, Unsupported
from longboat.operate import bulk
from longboat.operate.requeue import requeue, resume
from longboat.operate.search import parse
from tests.rigs.harnesses import ADAPTERS, unavailable

BOOM = Failure("builtins.ValueError", "boom", attempt=1, at=1.0, worker="w")
KINDS = ["memory", "sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("redis", "postgres", "manager"))]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    with ExitStack() as stack:

        def new(adapter: str) -> Broker:
            if reason := unavailable(adapter):
                pytest.skip(reason)
            return stack.enter_context(closing(ADAPTERS[adapter](tmp_path, SYSTEM).open()))

        yield new


@pytest.fixture
def broker() -> Iterator[Broker]:
    with closing(MemoryBroker()) as made:
        yield made


def job(id: str = "", **fields: Any) -> Job:
    return Job(1, id or new_id(), **{"task": "t", "payload": b"\x80", "queue": "q", **fields})


def dead(broker: Broker, **fields: Any) -> Job:
    made = job(**fields)
    broker.put([made])
    with closing(broker.consumer([made.queue], lease=60)) as consumer:
        (lease,) = consumer.receive(1, wait=5)
        consumer.settle([Settlement(lease, Dead(BOOM))])
    return made


def states(broker: Broker) -> dict[tuple[str, State], int]:
    return dict(broker.inspector.counts())


@pytest.mark.parametrize("kind", KINDS)
def test_jobs_move_whole_into_another_queue(opened: Callable[[str], Broker], kind: str) -> None:
    broker = opened(kind)
    gone = dead(broker)
    plain, later = job("mine", payload=codec.encode({"a": 1}), headers={"h": "é"}), job(delay=60.0)
    parent = job(queue="flow")
    child = job(queue="flow", constraints=Constraints(after=[parent.id]))
    broker.put([plain, later, parent, child])
    running = job(queue="busy")
    broker.put([running])
    worker = broker.consumer(["busy"], lease=60)
    (held,) = worker.receive(1, wait=5)

    ids = [each.id for each in (gone, plain, later, parent, child, running)]
    assert len(requeue(broker, ids, "other")) == 3

    assert states(broker) == {
        ("other", State.DEAD): 1,
        ("other", State.READY): 1,
        ("other", State.SCHEDULED): 1,
        ("flow", State.READY): 1,
        ("flow", State.WAITING): 1,
        ("busy", State.RUNNING): 1,
    }
    assert broker.transfer.unconfirmed() == []
    view = broker.inspector.find([gone.id])[0]
    assert view is not None
    assert (view.attempts, [each.message for each in view.failures]) == (1, ["boom"])
    with closing(broker.consumer(["other"], lease=60)) as consumer:
        (lease,) = consumer.receive(1, wait=5)
        assert (lease.job.id, lease.job.queue, lease.job.headers) == ("mine", "other", {"h": "é"})
        assert codec.decode(lease.job.payload) == {"a": 1}
        assert consumer.settle([Settlement(lease, Done(b"\xc0"))]) == []
        assert broker.put([plain]) == [], "its id stays known"
        assert broker.inspector.retry([gone.id]) == [gone.id]
        assert consumer.receive(1, wait=5)[0].job.id == gone.id
    assert worker.settle([Settlement(held, Done(b"\xc0"))]) == []
    worker.close()


def test_what_a_newer_longboat_wrote_into_a_message_stays(broker: Broker) -> None:
    made = job()
    message = msgspec.msgpack.encode([*msgspec.msgpack.decode(codec.encode_job(made)), "newer"])
    broker.put([made])
    (exported,) = broker.transfer.export_jobs("a", [made.id])
    exported.message = message
    broker.transfer.import_jobs("b", [exported])
    assert len(requeue(broker, [made.id], "other")) == 1
    (exported,) = broker.transfer.export_jobs("c", [made.id])
    assert msgspec.msgpack.decode(exported.message)[-1] == "newer"
    assert codec.decode_job(exported.message).queue == "other"


@pytest.mark.parametrize("kind", KINDS[:2])
def test_what_a_crash_leaves_on_its_way_is_put_in_by_the_next(
    opened: Callable[[str], Broker], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = opened(kind)
    ready, later = job(), job(delay=60.0)
    broker.put([ready, later])

    def away(*_: Any) -> Any:
        raise BrokerUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(broker.transfer), "import_jobs", away)
        with pytest.raises(BrokerUnavailable):
            requeue(broker, [ready.id, later.id], "other")
    assert states(broker) == {}
    assert resume(broker) == 2
    assert states(broker) == {("other", State.READY): 1, ("other", State.SCHEDULED): 1}
    view = broker.inspector.find([later.id])[0]
    assert view is not None
    assert 50 < (view.due or 0) - time.time() < 61
    assert broker.transfer.unconfirmed() == []
    assert resume(broker) == 0


def test_a_crash_after_it_was_put_in_makes_no_second_job(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.put([made := job()])

    def away(*_: Any) -> Any:
        raise BrokerUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(broker.transfer), "confirm", away)
        with pytest.raises(BrokerUnavailable):
            requeue(broker, [made.id], "other")
    with closing(broker.consumer(["other"], lease=60)) as consumer:
        (lease,) = consumer.receive(1, wait=5)
        assert consumer.settle([Settlement(lease, Done(b"\xc0"))]) == []
        resume(broker)
        assert consumer.receive(1, wait=0) == []
    assert broker.transfer.unconfirmed() == []


def test_what_was_in_transfer_for_over_a_day_is_logged(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    broker.put([made := job()])
    packed_at = f"{int((time.time() - FORGOTTEN_AFTER - 60) * 1e6) << 12:016x}-{'0' * 16}"
    broker.transfer.export_jobs(f"{packed_at} queue other", [made.id])
    assert resume(broker) == 1
    assert "1 jobs were in transfer to queue other for over a day" in caplog.text


def test_a_killed_discard_is_finished(broker: Broker) -> None:
    broker.put([made := job()])
    broker.transfer.export_jobs(f"{new_id()} discarded", [made.id])
    assert resume(broker) == 0
    assert broker.transfer.unconfirmed() == []
    assert states(broker) == {}


def test_a_move_of_another_kind_is_left_on_its_way(broker: Broker) -> None:
    broker.put([made := job()])
    name = f"{new_id()} redis://other"
    broker.transfer.export_jobs(name, [made.id])
    assert resume(broker) == 0
    assert broker.transfer.unconfirmed() == [name]


def test_what_is_meant_is_held_to_what_can_be_done() -> None:
    assert bulk.meant("retry", parse("queue:q")).states == (State.DEAD,)
    assert bulk.meant("cancel", parse("state:ready,dead")).states == (State.READY,)
    with pytest.raises(ConfigError, match="discard does not apply to jobs that are succeeded"):
        bulk.meant("discard", parse("state:succeeded"))


def test_those_chosen_are_counted_by_state_and_task(broker: Broker) -> None:
    dead(broker, task="a")
    broker.put([job(task="a"), job(task="b"), job(task="b", queue="there")])
    looked: list[int] = []
    query = bulk.meant("move", parse(""))
    chosen = bulk.choose(broker, query, to="there", look=looked.append)
    assert chosen.by == {(State.DEAD, "a"): 1, (State.READY, "a"): 1, (State.READY, "b"): 1}
    assert len(chosen.ids) == sum(looked) == 3
    assert len(bulk.choose(broker, query, most=2).ids) == 2


def test_what_has_changed_meanwhile_is_left(broker: Broker) -> None:
    first, second = dead(broker), dead(broker)
    query = bulk.meant("discard", parse("state:dead"))
    chosen = bulk.choose(broker, query)
    broker.inspector.retry([first.id])
    done = bulk.carry_out(broker, "discard", query, chosen.ids)
    assert (done.tried, done.done) == (2, 1)
    assert [view and view.state for view in broker.inspector.find([first.id, second.id])] == [State.READY, None]


def test_a_broker_that_looks_no_job_up_is_asked_to_do_it_all_the_same(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> Any:
        raise Unsupported("looking a job up by its id")

    gone = dead(broker)
    query = bulk.meant("retry", parse("queue:q"))
    chosen = bulk.choose(broker, query)
    monkeypatch.setattr(type(broker.inspector), "find", unsupported)
    assert bulk.carry_out(broker, "retry", query, chosen.ids).done == 1
    assert states(broker) == {("q", State.READY): 1}
    assert chosen.ids == [gone.id]


def test_it_stops_between_two_calls(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH", 2)
    broker.put([job() for _ in range(6)])
    query = bulk.meant("cancel", parse("queue:q"))
    told: list[int] = []
    ids = bulk.choose(broker, query).ids
    done = bulk.carry_out(broker, "cancel", query, ids, advance=lambda _, n: told.append(n), stop=lambda: len(told) == 2)
    assert (done.tried, done.done, done.stopped, told) == (4, 4, True, [2, 2])
    assert states(broker) == {("q", State.CANCELLED): 4, ("q", State.READY): 2}


def test_no_queues_name_is_refused_before_anything_is_done(broker: Broker) -> None:
    broker.put([made := job()])
    with pytest.raises(ConfigError, match="comma"):
        bulk.carry_out(broker, "move", parse(""), [made.id], to="a,b")
    assert states(broker) == {("q", State.READY): 1}


@pytest.mark.parametrize("kind", KINDS)
def test_retried_jobs_come_back_evenly_over_a_time(opened: Callable[[str], Broker], kind: str) -> None:
    broker = opened(kind)
    parent = dead(broker)
    broker.put([job(constraints=Constraints(after=[parent.id]))])
    ids = [*(dead(broker).id for _ in range(4)), parent.id]
    asked, query = time.time(), bulk.meant("retry", parse("state:dead"))
    done = bulk.carry_out(broker, "retry", query, ids, spread=1000.0)
    assert (done.done, sorted(done.changed)) == (5, sorted(ids))
    first, *later, of_a_flow = (view for view in broker.inspector.find(ids) if view)
    assert (first.state, of_a_flow.state) == (State.READY, State.READY), "jobs of flows come back at once"
    assert [view.state for view in later] == [State.SCHEDULED] * 3
    assert [(view.due or 0.0) - asked for view in later] == pytest.approx([200, 400, 600], abs=60)
    assert [(view.attempts, len(view.failures)) for view in (first, *later)] == [(0, 1)] * 4
    assert broker.transfer.unconfirmed() == []


def test_a_spread_retry_that_was_killed_is_finished_by_the_next(broker: Broker) -> None:
    lost, other = dead(broker), dead(broker)
    broker.transfer.export_jobs(f"{new_id()} retried", [lost.id])
    query = bulk.meant("retry", parse("state:dead"))
    assert bulk.carry_out(broker, "retry", query, [other.id], spread=60.0).done == 1
    assert states(broker) == {("q", State.READY): 2}
    assert broker.transfer.unconfirmed() == []


def test_a_broker_that_takes_no_job_out_cannot_spread() -> None:
    class Plain:
        capabilities = frozenset[Capability]()

    with pytest.raises(Unsupported, match="cannot spread retries over a time"):
        bulk.check(cast(Broker, Plain()), "retry", 60.0)
    bulk.check(cast(Broker, Plain()), "retry")
