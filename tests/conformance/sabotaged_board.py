"""Sabotages of the board."""

from __future__ import annotations

import time
from typing import Any

from sabotage import around, breaks


@breaks("notes_are_read_by_every_client")
def empty_notes_are_none(broker: Any) -> None:
    around(broker.board, "read", lambda read, space, keys: [value or None for value in read(space, keys)])


@breaks("notes_are_paged_in_the_order_of_keys")
def keys_are_ordered_without_case(broker: Any) -> None:
    around(broker.board, "notes", lambda notes, *args, **named: sorted(notes(*args, **named), key=lambda n: n[0].lower()))


@breaks("a_note_is_written_over_and_deleted")
def nothing_is_deleted(broker: Any) -> None:
    around(
        broker.board,
        "write",
        lambda write, space, notes: write(space, [note for note in notes if note.value is not None]),
    )


@breaks("a_note_is_forgotten_after_its_time")
def time_counts_from_the_first_write(broker: Any) -> None:
    values = broker.board._values

    def write(original: Any, space: str, note: Any) -> None:
        before = values.get(space, {}).get(note.key)
        original(space, note)
        if before and note.value is not None:
            values[space][note.key] = note.value, before[1]

    around(broker.board, "_write", write)


@breaks("a_note_is_added_once")
def adding_writes_over(broker: Any) -> None:
    def add(original: Any, space: str, notes: Any) -> Any:
        added = original(space, notes)
        broker.board.write(space, notes)
        return added

    around(broker.board, "add", add)


@breaks("a_swap_needs_the_value_as_it_was")
def swaps_look_first_and_write_later(broker: Any) -> None:
    def swap(_: Any, space: str, note: Any, old: Any) -> bool:
        if broker.board.read(space, [note.key]) != [old]:
            return False
        time.sleep(0.001)
        broker.board.write(space, [note])
        return True

    around(broker.board, "swap", swap)


@breaks("a_note_too_large_is_refused_with_all_beside_it")
def notes_are_written_one_by_one(broker: Any) -> None:
    def write(original: Any, space: str, notes: Any) -> None:
        for note in notes:
            original(space, [note])

    around(broker.board, "write", write)
