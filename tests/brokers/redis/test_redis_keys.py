"""The keys that the server keeps jobs by."""

from __future__ import annotations

import pytest

from longboat.brokers.redis.keys import SIZE, key_of, shown, split
from longboat.core.job import new_id

CHOSEN = ["a", "b", "order-17", "nightly:2026-11-21", "ä", "\ud800", "", "x" * 5000, "0" * 16, "g" * 16 + "-" + "0" * 16]


def test_keys_are_distinct_and_of_one_size() -> None:
    ids = [new_id() for _ in range(5000)] + CHOSEN
    keys = [key_of(each) for each in ids]
    assert len(set(keys)) == len(ids)
    assert {len(key) for key in keys} == {SIZE}
    assert keys == [key_of(each) for each in ids]


def test_generated_ids_keep_their_order_and_chosen_ones_stand_above() -> None:
    generated = [key_of(new_id()) for _ in range(1000)]
    assert generated == sorted(generated)
    assert max(generated)[0] < 0x80
    assert all(key_of(each)[0] >= 0x80 for each in CHOSEN)


def test_generated_ids_of_two_processes_differ_within_one_moment() -> None:
    moment = new_id()[:16]
    assert key_of(f"{moment}-{'0' * 8}{'1' * 8}") != key_of(f"{moment}-{'0' * 8}{'2' * 8}")


@pytest.mark.parametrize("job_id", [new_id(), "chosen"], ids=["generated", "chosen"])
def test_what_cannot_be_read_is_found_by_the_id_that_is_shown(job_id: str) -> None:
    key = key_of(job_id)
    assert key_of(shown(key)) == key


@pytest.mark.parametrize("job_id", ["unreadable-", "unreadable-00", "unreadable-" + "0" * 26])
def test_what_only_looks_unreadable_is_a_chosen_id(job_id: str) -> None:
    assert key_of(job_id)[0] >= 0x80
    assert key_of(job_id) != key_of("unreadable")


def test_keys_in_a_row() -> None:
    keys = [key_of(each) for each in CHOSEN]
    assert split(b"".join(keys)) == keys
    assert split(b"") == []
