"""Portions: what travels together, so many things and so many bytes at a time.

A batch of big messages is cut where its bytes are enough. Else one call would take longer than its time limit, though all is
stored, and the server would answer nobody else meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
A = TypeVar("A")

BYTES = 2_000_000
"""Of what travels together, at most. A single thing may be larger."""
TOGETHER = 32_000_000
"""Of what is stored together or not at all, at most: every broker does that within its time limit."""
UNWEIGHED = 50
"""Things that are asked for at once while nobody knows how big the answers are."""
_WEIGHED = 100
"""Things that are weighed at once."""


def fitting(sizes: Sequence[int], room: int = BYTES) -> int:
    """How many of these, from the first on, travel together: at least one."""
    if sum(sizes) <= room:
        return len(sizes)
    total = 0
    for number, size in enumerate(sizes):
        total += size
        if total > room:
            return max(1, number)
    return len(sizes)


def portions(things: Iterable[T], most: int, size: Callable[[T], int]) -> Iterator[list[T]]:
    """Up to `most` of them at a time, in order. `size`: the bytes of one."""
    them = iter(things)
    portion: list[T] = []
    total = 0
    while some := list(islice(them, min(_WEIGHED, most - len(portion)))):
        portion += some
        total += sum(map(size, some))
        while total > BYTES and len(portion) > 1:
            fit = fitting(list(map(size, portion)))
            if fit == len(portion):
                break
            yield portion[:fit]
            portion = portion[fit:]
            total = sum(map(size, portion))
        if len(portion) == most:
            yield portion
            portion, total = [], 0
    if portion:
        yield portion


def asked(
    things: Sequence[T], most: int, ask: Callable[[Sequence[T]], Sequence[A]], size: Callable[[A], int]
) -> Iterator[A]:
    """What `ask` says of all of these, up to `most` at a time, fewer where the answers are big. `size`: the bytes of one."""
    start, number = 0, min(most, UNWEIGHED)
    while start < len(things):
        answers = ask(things[start : start + number])
        yield from answers
        start += number
        total = sum(map(size, answers))
        number = most if total * most <= BYTES * len(answers) else max(1, BYTES * len(answers) // total)
