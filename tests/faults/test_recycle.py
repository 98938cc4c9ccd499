"""Worker processes that are replaced on purpose lose and charge nothing; a burst leaves when there is nothing to do."""

from __future__ import annotations

import pytest

from tests.rigs.fault import Yard

pytestmark = pytest.mark.slow


def ran_once_uncharged(yard: Yard) -> set[int]:
    """The pids that it took."""
    yard.check.sound()
    runs = yard.check.runs()
    assert all(len(each) == 1 and each[0].attempt == 1 for each in runs.values())
    assert not any(view.failures for view in yard.check.views(yard.check.acknowledged).values())
    return {each[0].pid for each in runs.values()}


def test_max_jobs(yard: Yard) -> None:
    for task in ("nap", "nap_in_thread"):
        yard.enqueue_many(task, 150, 0.01)
    tree = yard.start("--max-jobs=60")
    yard.until_over(30)
    assert tree.stop() == 0
    assert "handed back" not in tree.said()
    pids = ran_once_uncharged(yard)
    counts = [sum(each[0].pid == pid for each in yard.check.runs().values()) for pid in pids]
    assert max(counts) <= 60
    assert len(counts) <= 10, f"most of them left long before their number was full: {counts}"


def test_max_memory(yard: Yard) -> None:
    yard.enqueue_many("nap", 50, 0.05)
    yard.enqueue("swell", 150)
    yard.enqueue_many("nap", 200, 0.2)
    tree = yard.start("--max-memory=120MB", "--concurrency=10")
    yard.until_over(30)
    assert tree.stop() == 0
    assert "handed back" not in tree.said()
    assert len(ran_once_uncharged(yard)) == 2


def test_a_burst_leaves_when_nothing_is_ready(yard: Yard) -> None:
    assert yard.start("--burst").wait(10) == 0
    for task in ("nap", "nap_in_thread", "nap_in_process"):
        yard.enqueue_many(task, 50, 0.01)
    tree = yard.start("--burst", "-n", "2")
    assert tree.wait(20) == 0
    assert yard.check.all_over()
    ran_once_uncharged(yard)
