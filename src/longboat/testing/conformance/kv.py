"""Clauses about the kv: entries by namespace and key."""

from __future__ import annotations

import time

from longboat.contract.capabilities import Capability
from longboat.contract.kv import ENTRY_LIMIT, Entry
from longboat.errors import TooLarge
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import Stage, check, eventually, meanwhile, same

NEEDS = {Capability.KV}
"""Of every clause here."""


@clause
def entries_are_read_by_every_client(on: Stage) -> None:
    """Every client reads an entry as it was written, whatever bytes and characters it has; others are None."""
    value = bytes(range(256))
    on.broker.kv.write("s", [Entry("a", b"1"), Entry("é/:{}*\x00 ü", value), Entry("empty", b"")])
    on.broker.kv.write("other", [Entry("a", b"other")])
    same(on.another().kv.read("s", ["é/:{}*\x00 ü", "no", "a", "empty"]), [value, None, b"1", b""], "notes read")
    same(on.broker.kv.read("none", ["a"]), [None], "notes of a space that is not there")


@clause
def entries_are_paged_in_the_order_of_keys(on: Stage) -> None:
    """Entries come in the order of their keys' code points, from `after` to `before`, at most `limit` of them."""
    keys = ["z", "a", "B", "a1", "ä", "10", "9", "\U0001f600"]
    on.broker.kv.write("s", [Entry(key, key.encode()) for key in keys])
    on.broker.kv.write("t", [Entry("b", b"")])
    kv, ordered = on.broker.kv, sorted(keys)
    same([key for key, _ in kv.entries("s")], ordered, "all keys")
    same(kv.entries("s", limit=3), [(key, key.encode()) for key in ordered[:3]], "the first page")
    same([key for key, _ in kv.entries("s", after=ordered[2], limit=3)], ordered[3:6], "the next page")
    same([key for key, _ in kv.entries("s", after="9", before="a1")], ["B", "a"], "those between two keys")


@clause
def an_entry_is_overwritten_and_deleted(on: Stage) -> None:
    """Writing replaces a value; None deletes the entry, and is harmless if there is none."""
    kv = on.broker.kv
    kv.write("s", [Entry("a", b"1"), Entry("b", b"1")])
    kv.write("s", [Entry("a", b"2"), Entry("b", None), Entry("c", None)])
    same(kv.entries("s"), [("a", b"2")], "notes")


@clause
def an_entry_is_forgotten_after_its_time(on: Stage) -> None:
    """An entry is gone `keep` seconds after its last write, not before; one without `keep` stays."""
    kv = on.broker.kv
    began = time.monotonic()
    kv.write("s", [Entry("short", b"1", 0.3), Entry("stays", b"1"), Entry("longer", b"1", 0.3)])
    kv.write("s", [Entry("longer", b"2", 60.0)])
    same([key for key, _ in kv.entries("s")], ["longer", "short", "stays"], "notes at first")
    eventually(lambda: kv.read("s", ["short"]) == [None], "a note is forgotten")
    check(time.monotonic() - began >= 0.299, "a note was forgotten before its time")
    same([key for key, _ in kv.entries("s")], ["longer", "stays"], "notes then")
    same(kv.put_if_absent("s", [Entry("short", b"3")]), [True], "a forgotten key can be added")


@clause
def one_caller_puts_an_absent_entry(on: Stage) -> None:
    """When many callers put the same absent key at once, one of them is told that it did; an existing value stays."""
    kv = on.broker.kv
    same(
        kv.put_if_absent("s", [Entry("a", b"1"), Entry("a", b"2"), Entry("b", b"1")]), [True, False, True], "what was added"
    )
    same(kv.put_if_absent("s", [Entry("a", b"3"), Entry("c", b"1")]), [False, True], "what was added then")
    same(kv.read("s", ["a", "c"]), [b"1", b"1"], "the notes")
    clients = [on.another() for _ in range(4)]

    def add(number: int) -> list[bool]:
        return [clients[number].kv.put_if_absent("race", [Entry(f"{n}", b"%d" % number)])[0] for n in range(20)]

    told = [join() for join in [meanwhile(lambda number=number: add(number)) for number in range(4)]]  # type: ignore[misc]  # mypy cannot type a default of a lambda
    same([sum(each) for each in zip(*told, strict=True)], [1] * 20, "how many added each key")


@clause
def compare_and_set_needs_the_value_as_it_was(on: Stage) -> None:
    """Compare-and-set writes only if the value is what the caller saw; of many at once, one writes."""
    kv = on.broker.kv
    check(not kv.compare_and_set("s", Entry("a", b"1"), old=b"0"), "swapped though there was none")
    check(kv.compare_and_set("s", Entry("a", b"1"), old=None), "not swapped though there was none")
    check(not kv.compare_and_set("s", Entry("a", b"2"), old=None), "swapped though there was one")
    check(kv.compare_and_set("s", Entry("a", b"2", 60.0), old=b"1"), "not swapped though the value was as it was")
    same(kv.read("s", ["a"]), [b"2"], "the note")
    clients = [on.another() for _ in range(4)]

    def count(number: int) -> None:
        mine = clients[number].kv
        for _ in range(10):
            while True:
                was = mine.read("count", ["n"])[0]
                if mine.compare_and_set("count", Entry("n", b"%d" % (int(was or b"0") + 1)), old=was):
                    break

    for join in [meanwhile(lambda number=number: count(number)) for number in range(4)]:  # type: ignore[misc]  # mypy cannot type a default of a lambda
        join()
    # Not read: what others wrote may be read a moment later.
    check(kv.compare_and_set("count", Entry("n", b"40"), old=b"40"), "four at once did not count to 40")
    check(kv.compare_and_set("count", Entry("n", None), old=b"40"), "not deleted by a swap")
    same(kv.entries("count"), [], "notes after that")


@clause
def an_entry_too_large_is_refused_with_all_beside_it(on: Stage) -> None:
    """A value over the limit raises TooLarge and nothing of the call is written; a value at the limit is kept."""
    kv = on.broker.kv
    kv.write("s", [Entry("full", bytes(ENTRY_LIMIT))])
    same([len(value or b"") for value in kv.read("s", ["full"])], [ENTRY_LIMIT], "the largest note")
    try:
        kv.write("s", [Entry("small", b"1"), Entry("large", bytes(ENTRY_LIMIT + 1))])
    except TooLarge:
        same(kv.read("s", ["small", "large"]), [None, None], "what stands beside one that was refused")
    else:
        raise AssertionError("a note over the limit was taken")
