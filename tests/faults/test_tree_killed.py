"""kill -9 of the whole worker tree, again and again: nothing lost, nothing stuck, nothing run twice without need."""

from __future__ import annotations

import time

import pytest

from tests.rigs.fault import Yard

pytestmark = pytest.mark.slow

KILLS = 5
SOON = 5.0
"""Seconds beyond the lease within which all must be over."""


def killed_again_and_again(yard: Yard, task: str, n: int, lease: float, *options: str) -> float:
    """Enqueue `n` jobs of 5 ms and kill the tree while they run; how long the rest took after the last restart."""
    yard.enqueue_many(task, n, 0.005)
    arguments = (f"--lease={lease:g}s", *options)
    tree = yard.start(*arguments)
    for kill in range(1, KILLS + 1):
        yard.until_ended(n * kill // (KILLS + 3), 30)
        tree.kill()
        assert yard.check.note_kill(), "nothing was in flight: the kill proves nothing"
        time.sleep(0.5)  # as an init system would wait
        tree = yard.start(*arguments)
    took = yard.until_over(lease + 30)
    assert tree.stop() == 0
    yard.check.sound()
    return took


def test_coroutines_with_the_default_lease(yard: Yard) -> None:
    took = killed_again_and_again(yard, "nap", 2000, 15.0, "--concurrency=20")
    assert took <= 15.0 + SOON


@pytest.mark.parametrize("task", ["nap_in_thread", "nap_in_process"])
def test_threads_and_processes(task: str, yard: Yard) -> None:
    took = killed_again_and_again(yard, task, 1000, 4.0, "--threads=2", "--processes=2")
    assert took <= 4.0 + SOON
