"""One job that nobody can do anything with, among good ones, under a real worker: it is dead, they run, the worker lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from longboat.brokers.companion import CompanionBroker
from longboat.brokers.rabbitmq.broker import RabbitmqBroker
from longboat.brokers.rabbitmq.link import Publish
from longboat.contract.capabilities import Capability
from longboat.core import codec
from longboat.core.constraints import Constraints
from longboat.core.job import MESSAGE_VERSION, Failure, Job, State, new_id
from longboat.core.reasons import UNDECODABLE
from longboat.executors.contract import BAD_PAYLOAD
from tests.rigs.broker import URLS
from tests.rigs.fault import Tree, Yard, until
from tests.rigs.harnesses import unavailable

pytestmark = pytest.mark.slow

HEADERS: list[dict[str, Any]] = [
    {"longboat-attempts": "x"},
    {"longboat-failures": "x"},
    {"longboat-put": "x"},
    {"longboat-ended": [1]},
    {"longboat-worker-deaths": -1},
    {"longboat-token": "x"},
]


@pytest.fixture(params=["sqlite", *URLS])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    name: str = request.param
    if name in URLS and (why := unavailable(name)):
        pytest.skip(why)
    with ExitStack() as stack:
        made: Any = URLS.get(name)
        url = stack.enter_context(made(tmp_path)) if made else ""
        yield stack.enter_context(Yard(tmp_path, url=url))


def job(task: str = "nap", payload: bytes = codec.encode({"seconds": 0.0}), **fields: Any) -> Job:
    return Job(MESSAGE_VERSION, new_id(), f"tests.apps.fault_app.{task}", payload, **fields)


def with_good_jobs(yard: Yard, tree: Tree, worker: int, last: int) -> None:
    """So many good jobs have ended, and the worker that ran them is the first one."""
    yard.until_ended(last, 20)
    assert tree.workers() == [worker]
    assert "Traceback" not in tree.said()


def test_parents_results_that_do_not_fit(yard: Yard) -> None:
    broker = yard.app.broker
    if Capability.DEPENDENCIES not in broker.capabilities:
        pytest.skip("no job comes after another here")
    tree = yard.start("--queues", "default")
    [worker] = tree.up()
    parent = job()
    into = Constraints(after=[parent.id], into={"seconds": [0, [0]]})
    bad = [job(payload=raw, constraints=into) for raw in (b"", b"\xc1", b"\x91" * 5000, b"\x90", b"\x81\x01\x02", b"\xc0")]
    good = job(payload=b"\x81\xa7seconds\x00", constraints=Constraints(after=[parent.id]))
    broker.put([parent, *bad, good])
    with_good_jobs(yard, tree, worker, 2)
    ids = [each.id for each in bad]

    def dead() -> bool:
        views = broker.inspector.find(ids)
        return all(view and view.state is State.DEAD and view.failures[-1].type == BAD_PAYLOAD for view in views)

    until(dead, 10, lambda: f"{broker.inspector.find(ids)}")
    yard.enqueue("nap", 0.0)
    with_good_jobs(yard, tree, worker, 3)
    assert tree.stop() == 0


def test_headers_that_cannot_be_read(yard: Yard) -> None:
    broker = yard.app.broker
    if not isinstance(broker, RabbitmqBroker | CompanionBroker):
        pytest.skip("no headers here")
    carrier: Any = broker.carrier
    tree = yard.start("--queues", "default")
    [worker] = tree.up()
    yard.enqueue("nap", 0.0)
    for headers in HEADERS:
        bad = job()
        publish = Publish("", carrier.names.ready("default", 0), codec.encode_job(bad), headers, bad.id)
        carrier.session.publish([publish])
        yard.enqueue("nap", 0.0)
    with_good_jobs(yard, tree, worker, len(HEADERS) + 1)

    def failures() -> list[Failure]:
        return [view.failures[-1] for view in broker.inspector.jobs(State.DEAD).jobs]

    until(lambda: len(failures()) == len(HEADERS), 10, lambda: f"{failures()}")
    assert {failure.type for failure in failures()} == {UNDECODABLE}
    assert all("headers cannot be read" in failure.message for failure in failures())
    assert tree.stop() == 0


def test_bytes_of_every_kind_in_its_payload(yard: Yard) -> None:
    """Of tasks of all executors."""
    tree = yard.start("--queues", "default")
    [worker] = tree.up()
    deep = b"\x81\xa7seconds" + b"\x91" * 100_000
    raws = [b"", b"\xc1", deep, b"\x90", msgspec.msgpack.encode({"seconds": "x"}), codec.encode({"other": 1})]
    tasks = ("nap", "nap_in_thread", "nap_in_process")
    for task in tasks:
        yard.app.broker.put([job(task), *(job(task, raw) for raw in raws), job(task)])
    with_good_jobs(yard, tree, worker, 2 * len(tasks))
    yard.enqueue("nap", 0.0)
    with_good_jobs(yard, tree, worker, 2 * len(tasks) + 1)
    assert tree.stop() == 0
