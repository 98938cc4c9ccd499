"""Jobs moved from one broker into another: all of them, once, whole; and a move that was cut off is finished by the next."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from longboat.brokers.manager import ManagerBroker, Server
from longboat.brokers.memory import MemoryBroker
from longboat.brokers.sqlite import SqliteBroker
from longboat.contract.broker import FORGOTTEN_AFTER, Broker, Lease, Settlement
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints
from longboat.core.job import MESSAGE_VERSION, Dead, Done, Failure, Job, Park, Retry, State, new_id, new_ids
from longboat.errors import BrokerUnavailable, ConfigError
from longboat.operate.move import in_transfer, label, movable, move
from tests.rigs.harnesses import ADAPTERS, unavailable

BOOM = Failure("builtins.ValueError", "it went boom", "Traceback: boom", attempt=1, at=1.0, worker="w")
TO = "elsewhere://"
KINDS = ("memory", "sqlite", "redis", "postgres")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    """New, empty stores, closed in the end."""
    with ExitStack() as stack:

        def new(adapter: str) -> Broker:
            if reason := unavailable(adapter):
                pytest.skip(reason)
            return stack.enter_context(closing(ADAPTERS[adapter](tmp_path, SYSTEM).open()))

        yield new


@pytest.fixture
def pair(opened: Callable[[str], Broker]) -> tuple[Broker, Broker]:
    return opened("sqlite"), opened("memory")


def job(id: str = "", **fields: Any) -> Job:
    named = {"task": "t", "payload": b"\x80", "queue": "q", **fields}
    return Job(MESSAGE_VERSION, id or new_id(), **named)


def received(broker: Broker, n: int, queue: str = "q") -> list[Lease]:
    """So many leases, settled with success."""
    consumer = broker.consumer([queue], lease=60)
    leases: list[Lease] = []
    while len(leases) < n:
        more = consumer.receive(n - len(leases), wait=5)
        assert more, f"only {len(leases)} of {n} jobs came"
        assert consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in more]) == []
        leases += more
    consumer.close()
    return leases


def ended(broker: Broker, outcome: Any, **fields: Any) -> Job:
    made = job(**fields)
    broker.put([made])
    consumer = broker.consumer([made.queue], lease=60)
    (lease,) = consumer.receive(1, wait=5)
    assert consumer.settle([Settlement(lease, outcome)]) == []
    consumer.close()
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), list(itertools.product((*KINDS, "manager"), repeat=2)))
def test_every_kind_of_job_moves_between_any_two(opened: Callable[[str], Broker], a: str, b: str) -> None:
    source, destination = opened(a), opened(b)
    parked, dead = ended(source, Park(60, BOOM)), ended(source, Dead(BOOM))
    retried = ended(source, Retry(60, BOOM))
    plain, urgent, named = job(payload=b"\x81\xa1a\x01"), job(priority=9), job(id="mine", headers={"trace": "é"}, keep=7)
    later, other = job(delay=60), job(queue="other")
    source.put([plain, urgent, named, later, other])
    running = ended(source, Retry(0, BOOM), queue="busy")
    worker = source.consumer(["busy"], lease=60)
    (lease,) = worker.receive(1, wait=5)

    done = move(source, destination, TO)

    assert (done.moved, done.known, done.elsewhere) == (8, 0, {})
    assert dict(source.inspector.counts()) == {("busy", State.RUNNING): 1}
    assert source.transfer.unconfirmed() == []
    wanted = {("q", State.READY): 4, ("other", State.READY): 1, ("q", State.SCHEDULED): 2, ("q", State.DEAD): 1}
    assert dict(destination.inspector.counts()) == wanted
    views = {view.id: view for view in destination.inspector.find([dead.id, retried.id, later.id]) if view}
    assert [each.message for each in views[dead.id].failures] == [BOOM.message]
    assert (views[dead.id].attempts, views[retried.id].attempts) == (1, 1)
    assert 50 < (views[retried.id].due or 0) - time.time() < 61
    assert 50 < (views[later.id].due or 0) - time.time() < 61
    leases = received(destination, 4)
    assert leases[0].job.id == urgent.id
    assert {each.job.id for each in leases[1:]} == {plain.id, named.id, parked.id}
    its = next(each.job for each in leases if each.job.id == "mine")
    assert (its.headers, its.keep) == ({"trace": "é"}, 7)
    assert destination.inspector.retry([dead.id]) == [dead.id]
    assert received(destination, 1)[0].failures == 1
    assert worker.settle([Settlement(lease, Done(b"\xc0"))]) == []
    worker.close()
    view = source.inspector.find([running.id])[0]
    assert view is not None
    assert view.state is State.SUCCEEDED


def test_jobs_of_one_queue_only(pair: tuple[Broker, Broker]) -> None:
    source, destination = pair
    source.put([job(queue=name) for name in ("a", "b", "b", "c")])
    assert movable(source, ["b", "c"]) == {State.READY: 3}
    assert move(source, destination, TO, queues=["b", "c"]).moved == 3
    assert dict(source.inspector.counts()) == {("a", State.READY): 1}


def test_many_jobs_keep_their_order(pair: tuple[Broker, Broker]) -> None:
    source, destination = pair
    jobs = [Job(MESSAGE_VERSION, each, "t", b"\x80", "q") for each in new_ids(1700)]
    source.put(jobs)
    told: list[int] = []
    assert move(source, destination, TO, advance=told.append).moved == 1700
    assert sum(told) == 1700
    assert [lease.job.id for lease in received(destination, 1700)] == [each.id for each in jobs]


def test_what_is_more_than_one_batch_holds_goes_in_several(pair: tuple[Broker, Broker]) -> None:
    source, destination = pair
    for _ in range(20):
        source.put([job(payload=bytes(900_000))])
    assert move(source, destination, TO).moved == 20
    assert dict(destination.inspector.counts()) == {("q", State.READY): 20}


def test_moved_there_and_back_again(pair: tuple[Broker, Broker]) -> None:
    here, there = pair
    here.put([job(id="mine"), job(), job(delay=60)])
    for _ in range(2):
        assert move(here, there, TO).moved == 3
        assert here.put([job(id="mine")]) == []  # it is known still
        assert move(there, here, "back://").moved == 3
    assert dict(here.inspector.counts()) == {("q", State.READY): 2, ("q", State.SCHEDULED): 1}


def test_a_job_that_the_destination_knows_is_not_there_twice(pair: tuple[Broker, Broker]) -> None:
    source, destination = pair
    for broker in pair:
        broker.put([job(id="mine")])
    done = move(source, destination, TO)
    assert (done.moved, done.known) == (0, 1)
    assert movable(source) == {}
    assert len(received(destination, 1)) == 1


def test_jobs_that_wait_for_others_stay_with_them(opened: Callable[[str], Broker]) -> None:
    source, destination = opened("memory"), opened("sqlite")
    parent = job()
    source.put([parent, job(constraints=Constraints(after=[parent.id])), job()])
    assert move(source, destination, TO).moved == 1
    assert dict(source.inspector.counts()) == {("q", State.READY): 1, ("q", State.WAITING): 1}


def test_what_cannot_be_decoded_moves_too(tmp_path: Path, opened: Callable[[str], Broker]) -> None:
    home = ADAPTERS["sqlite"](tmp_path, SYSTEM)
    with closing(home.open()) as source:
        home.inject(b"no message", "q")
        home.inject(b"another", "q")
        consumer = source.consumer(["q"], lease=60)
        assert consumer.receive(1, wait=0) == []
        consumer.close()
        home.inject(b"not seen yet", "q")
        destination = opened("memory")
        assert move(source, destination, TO).moved == 3
    consumer = destination.consumer(["q"], lease=60)
    assert consumer.receive(1, wait=0) == []
    dead = destination.inspector.jobs(State.DEAD).jobs
    assert {view.payload for view in dead} == {b"no message", b"another", b"not seen yet"}
    assert {view.failures[-1].type for view in dead} == {"longboat.Undecodable"}


class Cut(Exception):
    """The process ends here."""


def cut(thing: Any, name: str, *, before: bool) -> None:
    """Its next call ends the move, before or after it has done its work."""
    original = getattr(thing, name)

    def call(*args: Any) -> Any:
        setattr(thing, name, original)
        if not before:
            original(*args)
        raise Cut

    setattr(thing, name, call)


POINTS = [
    (end, name, before)
    for end, name in (("s", "export_jobs"), ("d", "import_jobs"), ("s", "confirm"))
    for before in (True, False)
]


@pytest.mark.parametrize(("end", "name", "before"), POINTS)
@pytest.mark.parametrize("run_meanwhile", [False, True])
def test_cut_off_between_any_two_steps(
    pair: tuple[Broker, Broker], end: str, name: str, before: bool, run_meanwhile: bool
) -> None:
    source, destination = pair
    jobs = [job(keep=0), job(id="mine", keep=0), job(keep=0)]
    source.put(jobs)
    dead, later = ended(source, Dead(BOOM), queue="dead"), job(delay=60)
    source.put([later])
    cut((source if end == "s" else destination).transfer, name, before=before)
    with pytest.raises(Cut):
        move(source, destination, TO)
    ran = []
    if run_meanwhile:
        there = destination.inspector.counts().get(("q", State.READY), 0)
        ran = [lease.job.id for lease in received(destination, there)]  # and forgotten at once: keep is 0
    move(source, destination, TO)
    assert source.inspector.counts() == {}
    assert source.transfer.unconfirmed() == []
    ran += [lease.job.id for lease in received(destination, len(jobs) - len(ran))]
    assert sorted(ran) == sorted(each.id for each in jobs)
    assert dict(destination.inspector.counts()) == {("dead", State.DEAD): 1, ("q", State.SCHEDULED): 1}
    assert [view and view.state for view in destination.inspector.find([dead.id, later.id])] == [State.DEAD, State.SCHEDULED]


def test_what_was_put_run_and_forgotten_is_not_put_again(pair: tuple[Broker, Broker]) -> None:
    source, destination = pair
    source.put([job(keep=0), job(id="mine", keep=0)])
    cut(source.transfer, "confirm", before=True)
    with pytest.raises(Cut):
        move(source, destination, TO)
    received(destination, 2)
    assert in_transfer(source) == {TO: 2}
    done = move(source, destination, TO)
    assert (done.resumed, done.late) == (2, 0)
    assert (in_transfer(source), dict(destination.inspector.counts())) == ({}, {})


def test_two_moves_at_once_take_up_each_others_jobs(pair: tuple[Broker, Broker]) -> None:
    source, destination = pair
    source.put([job(keep=0), job(keep=0)])
    transfer: Any = destination.transfer
    original = transfer.import_jobs

    def another(name: str, exported_jobs: Any) -> Any:
        transfer.import_jobs = original
        move(source, destination, TO)  # finishes what this one has packed
        received(destination, 2)
        return original(name, exported_jobs)

    transfer.import_jobs = another
    move(source, destination, TO)
    assert (dict(source.inspector.counts()), dict(destination.inspector.counts())) == ({}, {})


def test_what_is_on_its_way_elsewhere_is_left_and_told(pair: tuple[Broker, Broker], opened: Callable[[str], Broker]) -> None:
    source, destination = pair
    source.put([job(), job()])
    cut(destination.transfer, "import_jobs", before=True)
    with pytest.raises(Cut):
        move(source, destination, TO)
    source.put([job()])
    done = move(source, opened("sqlite"), "third://")
    assert (done.moved, done.elsewhere) == (1, {TO: 2})
    assert move(source, destination, TO).moved == 2


def test_time_on_the_way_counts(opened: Callable[[str], Broker]) -> None:
    source, destination = opened("memory"), opened("memory")
    now = time.time()
    source.put([late := job(delay=3600), soon := job(delay=60), over := job(expires=60)])
    packed_at = f"{int((now - 100) * 1e6) << 12:016x}-{'0' * 16}"
    source.transfer.export_jobs(f"{packed_at} {TO}", [late.id, soon.id, over.id])
    assert move(source, destination, TO).late == 0
    views = destination.inspector.find([late.id, soon.id, over.id])
    assert [view and view.state for view in views] == [State.SCHEDULED, State.READY, State.CANCELLED]
    assert views[0] is not None
    assert 3490 < (views[0].due or 0) - now < 3502


def test_what_was_packed_over_a_day_ago_is_told(opened: Callable[[str], Broker]) -> None:
    source, destination = opened("memory"), opened("memory")
    source.put([old := job()])
    packed_at = f"{int((time.time() - FORGOTTEN_AFTER - 60) * 1e6) << 12:016x}-{'0' * 16}"
    source.transfer.export_jobs(f"{packed_at} {TO}", [old.id])
    done = move(source, destination, TO)
    assert (done.moved, done.resumed, done.late) == (1, 1, 1)


def test_one_store_under_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with closing(SqliteBroker(tmp_path / "a.db")) as a, closing(SqliteBroker(tmp_path / "link" / "a.db")) as b:
        a.put([job(id="mine")])
        with pytest.raises(ConfigError, match="same store"):
            move(a, b, TO)
        server = Server(SqliteBroker(tmp_path / "a.db"), ("127.0.0.1", 0), b"k" * 32)
        with server, closing(ManagerBroker(*server.address, authkey=b"k" * 32)) as c, pytest.raises(ConfigError):
            move(c, b, TO)
        assert movable(a) == {State.READY: 1}


def test_an_error_leaves_the_jobs_on_their_way(pair: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = pair
    source.put([job()])

    def away(*_: Any) -> Any:
        raise BrokerUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(destination.transfer, "import_jobs", away)
        with pytest.raises(BrokerUnavailable):
            move(source, destination, TO)
    assert in_transfer(source) == {TO: 1}
    assert move(source, destination, TO).moved == 1


def test_a_source_that_fills_as_fast_does_not_hold_it_up(opened: Callable[[str], Broker]) -> None:
    source, destination = MemoryBroker(), opened("memory")
    source.put([job() for _ in range(600)])

    def more(_: int) -> None:
        source.put([job() for _ in range(600)])

    assert move(source, destination, TO, advance=more).moved < 12_000


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("redis://me:secret@host:1/0?timeout=5s&prefix=p", "redis://host:1/0?prefix=p"),
        ("postgresql://me:secret@host/db?password=secret&schema=s", "postgresql://host/db?schema=s"),
        ("redis+sentinel://:pw@a:1,b:2/name", "redis+sentinel://a:1,b:2/name"),
        ("sqlite:////tmp/a.db?synchronous=normal", "sqlite:////tmp/a.db"),
    ],
)
def test_the_label_names_the_store_and_no_secret(url: str, written: str) -> None:
    assert label(url) == written
