"""How many worker processes there should be: quickly more, slowly fewer, never to and fro."""

from __future__ import annotations

from itertools import pairwise

import pytest

from longboat import ConfigError
from longboat.worker.scaler import IDLE, PATIENCE, SETTLING, Load, Scaler, bounds, heard


def settled(scaler: Scaler, loads: list[Load], running: int, seconds: int, start: int = 100) -> list[int]:
    """The wanted numbers, second by second, if each is followed at once."""
    wanted = []
    for second in range(start, start + seconds):
        running = scaler.wanted(float(second), loads * running, running)
        wanted.append(running)
    return wanted


def test_it_grows_to_the_most_while_jobs_wait_long() -> None:
    wanted = settled(Scaler(1, 8), [Load(10_000, 1.0, 1.0)], 1, 60)
    assert wanted[0] == 1
    assert wanted[-1] == 8
    assert wanted == sorted(wanted)
    assert wanted.index(8) <= 5 * (PATIENCE + SETTLING + 1)


def test_it_does_not_grow_for_what_is_done_soon() -> None:
    assert set(settled(Scaler(1, 8), [Load(100, 100.0, 1.0)], 2, 60)) == {2}


def test_it_shrinks_one_by_one_when_fewer_suffice() -> None:
    wanted = settled(Scaler(2, 8), [Load(0, 1.0, 0.05)], 8, 300)
    assert wanted[int(IDLE) - 1] == 8
    assert wanted[-1] == 2
    assert all(a - b in (0, 1) for a, b in pairwise(wanted))


def test_it_stays_where_one_fewer_would_be_busy() -> None:
    assert set(settled(Scaler(1, 8), [Load(0, 10.0, 0.55)], 4, 300)) == {4}


def test_a_load_that_comes_and_goes_does_not_make_it_flap() -> None:
    scaler, running, changes = Scaler(1, 8), 1, 0
    for second in range(600):
        load = Load(1000, 10.0, 1.0) if second % 20 < 10 else Load(0, 10.0, 0.1)
        wanted = scaler.wanted(float(second), [load] * running, running)
        changes += wanted < running
        running = wanted
    assert changes == 0, "it shrank between two bursts"


def test_without_word_from_the_workers_nothing_changes() -> None:
    assert Scaler(2, 4).wanted(0.0, [], 2) == 2
    assert Scaler(2, 4).wanted(0.0, [], 0) == 2


def test_words() -> None:
    load = Load(3, 1.5, 0.25)
    assert heard(load.said()) == load
    assert bounds("1-8") == (1, 8)
    for wrong in ("8", "0-3", "5-2", "a-b", "1-", "-3"):
        with pytest.raises(ConfigError, match="scale"):
            bounds(wrong)


def test_none_takes_the_place_of_one_that_was_told_to_leave() -> None:
    scaler = Scaler(2, 4)
    scaler.one_less(running=3)
    assert (scaler.least, scaler.most) == (2, 3)
    scaler.one_less(running=1)
    assert scaler.wanted(100.0, [Load(0, 1.0, 0.9)], 1) == 1
    assert max(settled(scaler, [Load(10_000, 1.0, 1.0)], 1, 60)) == 2
    scaler.one_less(running=0)
    assert scaler.wanted(200.0, [], 0) == 0
