"""Pace: how far ahead an executor's jobs are taken, and when they go back. Time and calls are given."""

from __future__ import annotations

from typing import Any

from longboat.worker.room import AHEAD, Pace

LOOK = 0.0501
"""Seconds between two looks."""


class _Executor:
    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0

    def free(self) -> int:
        return self.slots - self.taken


def pace(slots: int) -> tuple[Pace, _Executor, float]:
    executor: Any = _Executor(slots)
    made = Pace(executor, 0)
    return made, executor, made._since


def test_calls_that_end_together_tell_nothing_of_a_rate() -> None:
    """Two children, each of which has run for half a second: nothing more is taken ahead."""
    its, _, now = pace(2)
    its.measure(0, 0, now + 0.1)
    its.measure(2, 2, now + 0.5)
    assert its.ahead < 1


def test_whole_rounds_of_quick_calls_are_a_rate_at_once() -> None:
    its, _, now = pace(10)
    its.measure(100, 10, now + 0.01)
    assert round(its.ahead) == round(100 / 0.01 * AHEAD)


def test_what_waits_behind_a_call_that_does_not_end_is_overdue_after_a_tenth_of_a_second() -> None:
    its, executor, now = pace(1)
    its.measure(1000, 0, now + 1.0)
    executor.taken = 40
    assert [its.overdue(1000, now + 1.0 + step * LOOK) for step in range(3)] == [None, None, 0]
    assert its.stuck(1000)
    assert its.ahead == 0
    assert not its.stuck(1001)


def test_what_will_start_soon_stays() -> None:
    """Forty wait, and twenty start each 50 ms; then one in 50 ms."""
    its, executor, now = pace(1)
    executor.taken = 41
    ends = [0, 20, 40, 60, 80]
    assert [its.overdue(ended, now + step * LOOK) for step, ended in enumerate(ends)] == [None] * 5
    assert [its.overdue(80 + step, now + (4 + step) * LOOK) for step in range(1, 3)] == [None, 2]


def test_a_rate_that_was_wrong_is_trusted_less_for_a_while() -> None:
    its, executor, now = pace(1)
    its.measure(1000, 0, now + 1.0)
    before = its.ahead
    executor.taken = 40
    for step in range(3):
        its.overdue(1000, now + 1.0 + step * LOOK)
    its.measure(2000, 0, now + 2.0)
    assert 0 < its.ahead < before / 2
