"""Many producers and many workers on one file at once: every job runs exactly once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.rigs.fault import Yard

pytestmark = pytest.mark.slow

PRODUCERS = 4
WORKERS = 4
JOBS = 2000
"""Of each producer: half of them one by one."""

PRODUCER = f"""
import sys
from longboat import Longboat
with Longboat(sys.argv[1]) as app:
    nap = app.named("tests.apps.fault_app.nap")
    handles = [nap.enqueue(0.0) for _ in range({JOBS // 4})]
    handles += nap.enqueue_many([(0.0,)] * ({JOBS - JOBS // 4}))
    print(*(handle.id for handle in handles))
"""


def test_each_job_of_four_producers_runs_once_on_four_workers(yard: Yard) -> None:
    trees = [yard.start("-n", "2") for _ in range(WORKERS)]
    command = [sys.executable, "-c", PRODUCER, yard.url]
    producers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PRODUCERS)]
    try:
        for producer in producers:
            yard.check.acknowledged += producer.communicate(timeout=60)[0].split()
    finally:
        for producer in producers:
            producer.kill()
            producer.wait()
    assert len(set(yard.check.acknowledged)) == PRODUCERS * JOBS
    yard.until_over(30)
    assert [tree.stop() for tree in trees] == [0] * WORKERS
    yard.check.sound()
    runs = yard.check.runs()
    assert all(len(each) == 1 for each in runs.values())
    assert len({each[0].pid for each in runs.values()}) > 2, "one process did nearly all"
