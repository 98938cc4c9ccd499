"""The broker over threads and a fork, and what listeners are told."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat.contract.broker import Broker, Settlement
from longboat.core.clock import SYSTEM
from longboat.core.job import MESSAGE_VERSION, Done, Job, State, new_ids
from tests.rigs.harnesses import NewPostgres
from tests.rigs.servers.postgres import available

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = NewPostgres(tmp_path, SYSTEM).open()
    yield made
    made.close()


def some(n: int, **fields: object) -> list[Job]:
    return [Job(MESSAGE_VERSION, each, "t", b"\x80", **fields) for each in new_ids(n)]  # type: ignore[arg-type]  # the fields are of several types


def test_a_forked_child_has_connections_of_its_own(broker: Broker) -> None:
    first, second, third = some(3)
    broker.put([first])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if broker.put([second]) == [second.id] else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert broker.put([third]) == [third.id]
    assert broker.inspector.counts() == {("default", State.READY): 3}


def test_puts_of_the_same_jobs_at_the_same_time(broker: Broker) -> None:
    """Each is new to one of them only, and none of them fails."""
    batch = some(200)
    new: list[str] = []
    threads = [threading.Thread(target=lambda order=order: new.extend(broker.put(batch[::order]))) for order in (1, -1) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == sorted(job.id for job in batch)
    assert broker.inspector.counts() == {("default", State.READY): 200}


def test_a_listener_is_told_of_what_is_put_later(broker: Broker) -> None:
    """As when a job's result is waited for before its transaction is committed."""
    [job] = some(1)
    listener, consumer = broker.results.listen(), broker.consumer([], lease=30)
    listener.watch([job.id])
    assert listener.wait(0.05) == []
    broker.put([job])
    [lease] = consumer.receive(1, wait=5)
    consumer.settle([Settlement(lease, Done(b"\x01"))])
    began = time.monotonic()
    assert [result.value for result in listener.wait(5)] == [b"\x01"]
    assert time.monotonic() - began < 2
    listener.close()
    consumer.close()


def test_any_text_is_an_id_or_a_queue(broker: Broker) -> None:
    names = ["a\0b", "ä" * 100, "'; DROP SCHEMA", "%s %(x)s", "\\x41"]
    jobs = [Job(MESSAGE_VERSION, name, "t", b"\x80", queue=name) for name in names]
    assert broker.put(jobs) == names
    assert broker.inspector.counts() == {(name, State.READY): 1 for name in names}
    consumer = broker.consumer(names, lease=30, name="\0")
    assert [lease.job.id for lease in consumer.receive(10, wait=5)] == names
    assert broker.inspector.consumers()[0].queues == names
    consumer.close()


def test_counts_stay_exact_while_they_are_summed_up(broker: Broker) -> None:
    for job in some(250, delay=60.0):
        broker.put([job])
    broker.tidy(5.0)  # type: ignore[attr-defined]  # what this adapter has of its own
    assert broker.inspector.counts() == {("default", State.SCHEDULED): 250}
    rows = broker._store.call("SELECT count(*) FROM @.counts")  # type: ignore[attr-defined]  # what this adapter has of its own
    assert rows == [(1,)]


def test_a_batch_of_which_some_are_known(broker: Broker) -> None:
    """It is stored by the quick statement first, which knows all or nothing."""
    jobs = some(5)
    assert broker.put([jobs[1], jobs[3]], token=("other", 1)) == [jobs[1].id, jobs[3].id]
    assert broker.put(jobs, token=("mine", 1)) == [jobs[0].id, jobs[2].id, jobs[4].id]
    assert broker.put(jobs, token=("mine", 1)) == [job.id for job in jobs], "the same put again"
    assert broker.put(jobs) == []
    assert broker.inspector.counts() == {("default", State.READY): 5}
