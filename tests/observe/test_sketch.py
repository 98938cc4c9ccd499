"""Percentiles are as near to the truth as they say, merged and stored too; slices of the first layout are still read."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import msgspec
import pytest

from longboat.contract.kv import ENTRY_LIMIT
from longboat.observe.sketch import (
    ERROR,
    FIRST,
    LAST,
    LONGEST,
    Sketch,
    mean,
    merge,
    middle,
    packed,
    place,
    put,
    quantile,
    quantiles,
    unpacked,
)
from longboat.observe.tally import Slice, Tally, encoded, fitting, slice_of
from longboat.worker.recorder import COARSE

PARTS = (0.01, 0.5, 0.95, 0.99, 1.0)


def true(durations: list[float], part: float) -> float:
    return sorted(durations)[max(0, math.ceil(len(durations) * part - 1e-9) - 1)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda _: 5.0,
        lambda chance: chance.lognormvariate(-3, 2),
        lambda chance: chance.uniform(0, 10),
        lambda chance: chance.choice([0.0015, 0.2, 3600.0]),
    ],
)
def test_percentiles_of_many_workers_together_are_within_the_error(draw: Callable[[random.Random], float]) -> None:
    chance, whole, durations = random.Random(3), Sketch(), list[float]()
    for _ in range(7):
        own: Sketch = {}
        for _ in range(chance.randrange(1, 400)):
            durations.append(draw(chance))
            put(own, durations[-1])
        merge(whole, unpacked(msgspec.msgpack.decode(msgspec.msgpack.encode(packed(own)))))
    assert quantiles(whole, PARTS) == [pytest.approx(true(durations, part), rel=ERROR + 1e-9) for part in PARTS]
    assert mean(whole) == pytest.approx(sum(durations) / len(durations), rel=ERROR + 1e-9)


def test_nothing_and_the_ends() -> None:
    assert quantile({}, 0.5) is mean({}) is None
    assert place(0.0) == place(FIRST) == place(-1.0) == 0
    assert middle(0) == 0.0
    assert place(math.inf) == place(2 * LONGEST) == LAST
    for bucket in range(1, LAST):
        assert place(middle(bucket)) == bucket
    assert unpacked([10**9, 1, -(10**9), -4, 3]) == {}, "a broken entry"


def test_a_slice_reads_as_it_was_written_and_takes_little_room() -> None:
    chance, tally = random.Random(5), Tally(4000, 3, 2, 1)
    for _ in range(4000):
        put(tally.run, 0.08 * chance.lognormvariate(0, 0.6))
        put(tally.wait, 0.02 * chance.lognormvariate(0, 1.1))
    value = encoded({("q", "t"): tally})
    assert slice_of(value) == {("q", "t"): tally}
    print(f"\n{len(value)} bytes")
    assert len(value) < 700
    assert len(encoded({("q", "t"): Tally(3, run={place(5.0): 3})})) < 30
    assert slice_of(b"\x93\x03\x90\x90") is slice_of(b"") is None


def test_a_slice_of_very_many_buckets_still_fits_an_entry() -> None:
    full = {bucket: 10**6 + bucket for bucket in range(LAST)}
    many: Slice = {("q", f"t{n}"): Tally(run=dict(full), wait=dict(full)) for n in range(300)}
    assert len(encoded(many)) > ENTRY_LIMIT
    value = fitting(many)
    found = slice_of(value)
    assert len(value) <= ENTRY_LIMIT
    assert found is not None
    assert sum(found["q", "t7"].run.values()) == sum(full.values())
    assert quantile(found["q", "t7"].run, 0.5) == pytest.approx(quantile(full, 0.5), rel=0.4)


def test_slices_of_the_first_layout_are_read() -> None:
    """Counts in 28 buckets with the edges 1, 2 and 5 times the powers of ten, from 0.1 ms."""
    old = [("q", "t", [101, 2, 1, 0, [0, 50, 50], [*[0] * 15, 100, *[0] * 11, 1]])]
    found = slice_of(msgspec.msgpack.encode(old))
    assert found is not None
    tally = found["q", "t"]
    assert (tally.succeeded, tally.retried, tally.dead, tally.cancelled) == (101, 2, 1, 0)
    assert sum(tally.run.values()) == 101
    assert quantile(tally.run, 0.5) == pytest.approx(7.5, rel=0.04), "100 lay between 5 and 10 s"
    assert quantile(tally.run, 1.0) == pytest.approx(50_000, rel=0.04)
    assert quantiles(tally.wait, [0.5, 1.0]) == [pytest.approx(0.2e-3, rel=0.04), pytest.approx(0.5e-3, rel=0.04)]


def test_coarse_entries_are_small_and_their_percentiles_are_near() -> None:
    """Where each process holds all entries."""
    tally = Tally(succeeded=1000)
    for number in range(1, 1001):
        put(tally.run, number / 100)
    fine, small = (fitting({("q", "t"): tally}, step) for step in (1, COARSE))
    assert len(small) < len(fine) / 2
    read = slice_of(small)
    assert read is not None
    assert quantile(read["q", "t"].run, 0.95) == pytest.approx(9.5, rel=0.08)
