"""A full disk: nothing half done, nothing acknowledged lost, and on it goes when there is room again."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker
from longboat.contract.broker import Settlement
from longboat.core.job import Done, Job, State
from longboat.errors import BrokerFull


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "longboat-test", str(tmp_path)], check=False, capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def fill(broker: SqliteBroker, job: Callable[..., Job], size: int) -> list[str]:
    """Put until there is no room; returns the ids that were acknowledged."""
    acknowledged: list[str] = []
    for n in range(1, 10_000):
        try:
            acknowledged += broker.put([job(headers={"x": "y" * size}) for _ in range(3)], token=("me", n))
        except BrokerFull:
            return acknowledged
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("size", [200, 20_000])
def test_a_full_disk_refuses_puts_whole_and_goes_on_when_there_is_room(
    small_disk: Path, job: Callable[..., Job], size: int
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    broker = SqliteBroker(small_disk / "queue.db")
    acknowledged = fill(broker, job, size)
    for _ in range(3):
        with pytest.raises(BrokerFull, match="Make room"):
            broker.put([job(headers={"x": "y" * 400_000})])
    assert broker.inspector.counts() == {("default", State.READY): len(acknowledged)}
    ballast.unlink()
    more = broker.put([job()])
    consumer = broker.consumer([], lease=10)
    leases = consumer.receive(10_000, wait=0)
    assert [lease.job.id for lease in leases] == acknowledged + more
    assert consumer.settle([Settlement(lease, Done(b"")) for lease in leases]) == []
    consumer.close()
    broker.close()
    with closing(sqlite3.connect(small_disk / "queue.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_put_refused_for_want_of_room_may_be_tried_again(small_disk: Path, job: Callable[..., Job]) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    broker = SqliteBroker(small_disk / "queue.db")
    fill(broker, job, 2000)
    batch = [job(headers={"x": "y" * 100_000}) for _ in range(3)]
    with pytest.raises(BrokerFull):
        broker.put(batch, token=("other", 1))
    ballast.unlink()
    ids = [each.id for each in batch]
    assert broker.put(batch, token=("other", 1)) == ids
    assert [view.id for view in broker.inspector.find(ids) if view] == ids
    broker.close()


def test_a_disk_that_is_full_from_the_start_is_told(small_disk: Path, job: Callable[..., Job]) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(4_000_000))
    broker = SqliteBroker(small_disk / "queue.db")
    with pytest.raises(BrokerFull):
        broker.put([job()])
    ballast.unlink()
    assert len(broker.put([job()])) == 1
    broker.close()
