"""Portions hold so many things and so many bytes at most, in order, and lose nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from longboat.core.portions import BYTES, UNWEIGHED, asked, fitting, portions


@pytest.mark.parametrize("most", [1, 7, 250])
def test_portions_are_cut_by_number_and_by_bytes(most: int) -> None:
    chance = random.Random(most)
    sizes = [chance.choice((0, 10, BYTES // 90, BYTES // 3, BYTES + 1)) for _ in range(600)]
    found = list(portions(iter(sizes), most, lambda size: size))
    assert [size for portion in found for size in portion] == sizes
    for portion, following in zip(found, [*found[1:], None], strict=True):
        assert 0 < len(portion) <= most
        assert sum(portion) <= BYTES or len(portion) == 1
        if following:
            assert len(portion) == most or sum(portion) + following[0] > BYTES, "it was cut too early"


def test_at_least_one_travels() -> None:
    assert fitting([BYTES + 1, 1]) == 1
    assert fitting([BYTES - 1, 1, 1]) == 2
    assert fitting([]) == 0


def test_big_answers_are_asked_for_in_few() -> None:
    sizes = [BYTES // 20] * 200 + [10] * 2000
    asked_for: list[int] = []

    def ask(some: Sequence[int]) -> list[int]:
        asked_for.append(len(some))
        return [sizes[each] for each in some]

    assert list(asked(range(len(sizes)), 500, ask, lambda size: size)) == sizes
    assert asked_for[0] == UNWEIGHED
    assert max(asked_for[1:8]) == 20
    assert max(asked_for) == 500
    assert list(asked([], 500, ask, lambda size: size)) == []
