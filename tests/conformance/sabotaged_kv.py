"""Sabotages of the kv."""

from __future__ import annotations

import time
from typing import Any

from tests.conformance.sabotage import around, breaks


@breaks("entries_are_read_by_every_client")
def empty_notes_are_none(broker: Any) -> None:
    around(broker.kv, "read", lambda read, namespace, keys: [value or None for value in read(namespace, keys)])


@breaks("entries_are_paged_in_the_order_of_keys")
def keys_are_ordered_without_case(broker: Any) -> None:
    around(broker.kv, "entries", lambda entries, *args, **named: sorted(entries(*args, **named), key=lambda n: n[0].lower()))


@breaks("an_entry_is_overwritten_and_deleted")
def nothing_is_deleted(broker: Any) -> None:
    around(
        broker.kv,
        "write",
        lambda write, namespace, entries: write(namespace, [entry for entry in entries if entry.value is not None]),
    )


@breaks("an_entry_is_forgotten_after_its_time")
def time_counts_from_the_first_write(broker: Any) -> None:
    values = broker.kv._values

    def write(original: Any, namespace: str, entry: Any) -> None:
        before = values.get(namespace, {}).get(entry.key)
        original(namespace, entry)
        if before and entry.value is not None:
            values[namespace][entry.key] = entry.value, before[1]

    around(broker.kv, "_write", write)


@breaks("one_caller_puts_an_absent_entry")
def adding_writes_over(broker: Any) -> None:
    def add(original: Any, namespace: str, entries: Any) -> Any:
        added = original(namespace, entries)
        broker.kv.write(namespace, entries)
        return added

    around(broker.kv, "put_if_absent", add)


@breaks("compare_and_set_needs_the_value_as_it_was")
def swaps_look_first_and_write_later(broker: Any) -> None:
    def compare_and_set(_: Any, namespace: str, entry: Any, old: Any) -> bool:
        if broker.kv.read(namespace, [entry.key]) != [old]:
            return False
        time.sleep(0.001)
        broker.kv.write(namespace, [entry])
        return True

    around(broker.kv, "compare_and_set", compare_and_set)


@breaks("an_entry_too_large_is_refused_with_all_beside_it")
def notes_are_written_one_by_one(broker: Any) -> None:
    def write(original: Any, namespace: str, entries: Any) -> None:
        for entry in entries:
            original(namespace, [entry])

    around(broker.kv, "write", write)
