"""The outbox: jobs go into a table in the program's transaction, and from there to the broker, each once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from longboat import Job, Longboat, NotDelivered, State
from longboat.brokers.memory import MemoryBroker
from longboat.client import relay as relays
from longboat.client.outbox_table import OutboxTable, Row, add
from longboat.client.relay import Relay
from longboat.contract.broker import Token
from longboat.contract.caller import Caller
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints
from longboat.core.job import MESSAGE_VERSION, new_id
from longboat.core.portions import BYTES
from tests.client.shop import with_tasks
from tests.rigs.sessions import SQLITE


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "shop.db")


@pytest.fixture
def connect(path: str) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(path, timeout=0.2, check_same_thread=False)


def shop(connect: Callable[[], Any], url: str = "memory://") -> Longboat:
    return with_tasks(Longboat(url, outbox=connect))


def drained(app: Longboat) -> None:
    relay = app.relay()
    assert relay is not None
    while relay.run(SYSTEM.now()) <= SYSTEM.now():
        pass
    relay.close()


@pytest.mark.parametrize("kind", SQLITE)
def test_what_is_committed_is_delivered(path: str, connect: Callable[[], Any], kind: str) -> None:
    with shop(connect) as app, SQLITE[kind](path) as program:
        send, counts = app.named("send"), app.broker.inspector.counts
        lost = program.enqueue(send, 1)
        program.rollback()
        handle = program.enqueue(send, 2)
        drained(app)
        assert counts() == {}, "delivered before the commit"
        program.commit()
        assert handle.status() is State.WAITING
        assert "outbox" in app.client.why(handle.id)
        drained(app)
        assert counts() == {("default", State.READY): 1}
        assert (handle.status(), app.broker.inspector.find([lost.id])) == (State.READY, [None])


def test_whatever_a_call_asks_for_goes_through_the_outbox(path: str, connect: Callable[[], Any]) -> None:
    with shop(connect) as app, SQLITE["sqlite3"](path) as program:
        send = app.named("send").using(session=program.session)
        once = app.named("once").using(session=program.session)
        many = send.enqueue_many([(n,) for n in range(250)])
        defined: Any = app.registry.tasks["send"]
        flow = send.s(1).then(defined).enqueue()
        same = [once.enqueue(1), once.enqueue(1)]
        later = send.using(delay="1h", id="later").enqueue(1)
        program.commit()
        drained(app)
        assert app.broker.inspector.find([same[1].id]) == [None], "it is one with the first"
        with app.worker(burst=True) as worker:
            assert worker.finished.wait(10)
        assert [each.result(timeout=5) for each in (many[249], flow, same[0])] == [249, 1, 1]
        assert later.status() is State.SCHEDULED
        assert len(app.flow(flow.id).jobs()) == 2


def test_big_jobs_are_delivered_by_bytes(connect: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, put = [], MemoryBroker.put

    def weighed(self: MemoryBroker, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        sizes.append(sum(len(job.payload) for job in jobs))
        return put(self, jobs, token=token)

    monkeypatch.setattr(MemoryBroker, "put", weighed)
    with shop(connect) as app, closing(connect()) as db:
        drained(app)  # which makes the table
        add(Caller(db), [Job(MESSAGE_VERSION, new_id(), "t", bytes(900_000)) for _ in range(10)])
        db.commit()
        drained(app)
        assert len(sizes) == 5
        assert max(sizes) <= BYTES


def test_a_worker_delivers(path: str, connect: Callable[[], Any]) -> None:
    with shop(connect) as app, SQLITE["Session"](path) as program, app.worker():
        handle = program.enqueue(app.named("send"), 5)
        program.commit()
        assert handle.result(timeout=10) == 5


def test_times_count_from_the_call(connect: Callable[[], Any]) -> None:
    with shop(connect) as app:
        job = Job(1, new_id(), "send", b"\x80", delay=100.0, expires=200.0)
        over = Job(1, new_id(), "send", b"\x80", expires=10.0)
        stored(connect, [job, over], age=60.0)
        drained(app)
        due = app.job(job.id).view().due
        assert due is not None
        assert due - SYSTEM.now() == pytest.approx(40.0, abs=5)
        time.sleep(0.005)  # what is over already is put with a millisecond to live
        consumer = app.broker.consumer(["default"], lease=10)
        assert consumer.receive(1, wait=0.1) == []
        consumer.close()
        assert app.job(over.id).status() is State.CANCELLED


def stored(connect: Callable[[], Any], jobs: list[Job], age: float = 0.0, **how: Any) -> None:
    with closing(OutboxTable(connect)) as table:
        table.create()
    with closing(connect()) as connection:
        add(Caller(connection), jobs, **how)
        connection.execute("UPDATE longboat_outbox SET at = at - ?", (age,))
        connection.commit()


def test_what_the_broker_refuses_holds_up_nobody_else(connect: Callable[[], Any]) -> None:
    orphan = Job(1, new_id(), "send", b"\x80", constraints=Constraints(after=["nobody"]))
    others = [Job(1, new_id(), "send", b"\x80") for _ in range(3)]
    with shop(connect) as app:
        stored(connect, [others[0], orphan, *others[1:]])
        drained(app)
        assert [app.job(each.id).status() for each in others] == [State.READY] * 3
        with pytest.raises(NotDelivered, match="nobody"):
            app.job(orphan.id).status()
        with pytest.raises(NotDelivered, match="nobody"):
            app.job(orphan.id).result(timeout=5)
        assert OutboxTable(connect).summary() == (0, None, 1)


def test_a_message_that_cannot_be_read_holds_up_nobody_else(connect: Callable[[], Any]) -> None:
    good = Job(1, new_id(), "send", b"\x80")
    with shop(connect) as app:
        stored(connect, [Job(1, "bad", "send", b"\x80"), good])
        with closing(connect()) as connection:
            connection.execute("UPDATE longboat_outbox SET message = x'c1' WHERE id = 'bad'")
            connection.commit()
        drained(app)
        assert app.job(good.id).status() is State.READY
        with pytest.raises(NotDelivered, match="cannot be read"):
            app.job("bad").status()


class Dies(OutboxTable):
    """Its process is killed at one point of a delivery."""

    def __init__(self, connect: Callable[[], Any], point: str) -> None:
        super().__init__(connect)
        self._point = point

    def rows(self, batch: str) -> list[Row]:
        if self._point == "claimed":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().rows(batch)

    def delivered(self, batch: str) -> None:  # noqa: ARG002  # as the one that it stands for
        os.kill(os.getpid(), signal.SIGKILL)


DIES = """
import sys
from longboat import connect
from longboat.client.relay import Relay
from longboat.core.clock import SYSTEM
from tests.client.test_relay import Dies
import sqlite3
Relay(connect(sys.argv[1]), Dies(lambda: sqlite3.connect(sys.argv[2]), sys.argv[3])).run(SYSTEM.now())
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", ["claimed", "put"])
def test_a_relay_that_is_killed_makes_no_second_job(
    tmp_path: Path, path: str, connect: Callable[[], Any], point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the first one has run and is forgotten: the broker knows the put."""
    url = f"sqlite:///{tmp_path}/queue.db"
    with shop(connect, url) as app:
        jobs = [Job(1, new_id(), "send", b"\x81\xa5order\x07", keep=0.0) for _ in range(10)]
        stored(connect, jobs)
        killed = subprocess.run([sys.executable, "-c", DIES, url, path, point], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert sum(app.broker.inspector.counts().values()) == (10 if point == "put" else 0)
        with app.worker(burst=True, queues=["default"]) as worker:
            assert worker.finished.wait(10)
        assert app.broker.inspector.find([jobs[0].id]) == [None]
        monkeypatch.setattr(relays, "LEASE", -1.0)
        drained(app)
        assert OutboxTable(connect).summary() == (0, None, 0)
        assert sum(app.broker.inspector.counts().values()) == (0 if point == "put" else 10)


def test_several_relays_share_the_work(connect: Callable[[], Any]) -> None:
    jobs = [Job(1, new_id(), "send", b"\x80") for _ in range(450)]
    with shop(connect) as app:
        stored(connect, jobs)
        some = [Relay(app.broker, OutboxTable(connect)) for _ in range(3)]
        for _ in range(4):
            for each in some:
                each._deliver_next()
        for each in some:
            each.close()
        assert app.broker.inspector.counts() == {("default", State.READY): 450}
        assert OutboxTable(connect).summary() == (0, None, 0)
