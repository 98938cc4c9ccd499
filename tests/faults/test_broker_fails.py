"""A disk that is full, and a database that somebody else has locked: callers are told in time, workers live and go on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat.errors import BrokerFull, BrokerUnavailable
from tests.rigs.fault import Yard, until

pytestmark = pytest.mark.slow

LOCKED = 5.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "longboat-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    with Yard(tmp_path, "disk/queue.db") as yard:
        filler = small_disk / "filler"
        filler.write_bytes(bytes(500_000))
        tree = yard.start("--threads=2")
        [worker] = tree.up()
        yard.enqueue_many("nap_in_thread", 40, 0.1)
        refused = 0
        for _ in range(3000):
            try:
                yard.enqueue("nap", 0.001)
            except BrokerFull as error:
                assert "Make room" in str(error)  # noqa: PT017  # it is met many times
                refused += 1
                if refused == 20:
                    break
                time.sleep(0.05)
        assert refused == 20, "the disk was never full"
        until(lambda: "the broker fails" in tree.said(), 10, tree.said)
        filler.unlink()
        freed = time.monotonic()
        until(lambda: "answers again" in tree.said(), 5, tree.said)
        yard.enqueue("nap", 0.001)
        yard.until_over(30)
        assert time.monotonic() - freed < 30
        assert tree.workers() == [worker]
        assert tree.stop() == 0
        yard.check.sound()
        assert yard.query("PRAGMA integrity_check") == [("ok",)]


def test_a_locked_database(yard: Yard) -> None:
    tree = yard.start("--threads=2")
    [worker] = tree.up()
    yard.enqueue_many("nap_in_thread", 20, 0.05)
    yard.until_ended(2, 10)
    with closing(sqlite3.connect(yard.folder / "queue.db", isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            yard.task("nap").enqueue(0.0)
        assert time.monotonic() - began < 2.5
        until(lambda: "the broker fails" in tree.said(), LOCKED, tree.said)
        time.sleep(max(0.0, began + LOCKED - time.monotonic()))
        other.execute("ROLLBACK")
    yard.enqueue_many("nap", 20, 0.01)
    yard.until_over(10)
    assert tree.workers() == [worker]
    assert tree.stop() == 0
    yard.check.sound()
    assert all(len(runs) == 1 for runs in yard.check.runs().values())
