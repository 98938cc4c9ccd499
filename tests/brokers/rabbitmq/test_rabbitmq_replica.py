"""A replica of the entries: whoever reads the log, from its beginning or from a snapshot, knows the same."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longboat.brokers.rabbitmq import replica
from longboat.brokers.rabbitmq.replica import Command, Replica
from longboat.contract.kv import Entry

KEYS = st.sampled_from(["a", "b", "c", "ä"])
VALUES = st.binary(max_size=3)
ENTRIES = st.builds(Entry, KEYS, st.one_of(st.none(), VALUES), st.one_of(st.none(), st.just(60.0), st.just(0.0)))
COMMANDS: st.SearchStrategy[tuple[str, list[Entry], bytes | None]] = st.one_of(
    st.tuples(st.just("write"), st.lists(ENTRIES, max_size=3), st.none()),
    st.tuples(st.just("absent"), st.lists(ENTRIES.filter(lambda entry: entry.value is not None), max_size=3), st.none()),
    st.tuples(st.just("compare"), st.lists(ENTRIES, min_size=1, max_size=1), st.one_of(st.none(), VALUES)),
    st.tuples(st.just("begin"), st.just([]), st.none()),
)


def line(command: Command) -> bytes:
    return msgspec.msgpack.encode(command)


def told(one: Replica) -> list[tuple[str, bytes]]:
    return one.entries("n", "", None, 1000)


@given(st.lists(COMMANDS, max_size=30), st.integers(0, 30), st.booleans())
def test_who_begins_later_knows_the_same(commands: list[tuple[str, list[Entry], bytes | None]], cut: int, lag: bool) -> None:
    now = time.time()
    writer = Replica("w")
    log: list[bytes] = []
    for number, (kind, entries, old) in enumerate(commands):
        made = Command(kind, "w", number, now + number, "n", entries, old)  # type: ignore[arg-type]  # of the kinds that there are
        if kind == "begin":
            made.at = now + 1000 * number  # long after the one before
        log.append(line(made))
        assert [at for at, _ in writer.take(len(log) - 1, log[-1])] == [number]
        pieces, writer.snapshot = writer.snapshot, []
        if pieces and lag:  # others write before the snapshot is there
            pieces.insert(0, Command("write", "w", -1, now, "n", [Entry("meanwhile", b"1")]))
        for each in pieces:
            log.append(line(each))
            writer.take(len(log) - 1, log[-1])
    begins = [at for at, raw in enumerate(log) if msgspec.msgpack.decode(raw, type=Command).kind == "begin"]
    start = max([at for at in begins if at <= cut], default=0)
    late = Replica("late")
    for at in range(start, len(log)):
        late.take(at, log[at])
    late.take(len(log), line(Command("mark", "late", 1, now)))
    assert told(late) == told(writer)
    assert late.size == writer.size


def test_a_place_is_told_to_who_wrote_it_only() -> None:
    one, other = Replica("one"), Replica("other")
    raw = line(Command("absent", "one", 7, time.time(), "n", [Entry("a", b"1"), Entry("a", b"2")]))
    assert one.take(0, raw) == [(7, [True, False])]
    assert other.take(0, raw) == []
    assert told(one) == told(other) == [("a", b"1")]


def test_a_log_that_has_lost_its_beginning_and_has_no_snapshot_is_what_is_left() -> None:
    late = Replica("late")
    assert late.take(500, line(Command("write", "w", 1, time.time(), "n", [Entry("a", b"1")]))) == []
    assert late.take(501, line(Command("mark", "late", 1, time.time()))) == [(1, [])]
    assert told(late) == [("a", b"1")]


def test_lines_of_others_are_passed_over() -> None:
    one = Replica("one")
    assert one.take(0, b"\xc1 nonsense") == []
    assert one.take(1, line(Command("write", "one", 1, time.time(), "n", [Entry("a", b"1")]))) == [(1, [True])]


def test_what_is_long_over_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    one, now = Replica("one"), time.time()
    one.take(0, line(Command("write", "one", 1, now, "n", [Entry("a", bytes(1000), 5.0), Entry("b", b"1", 5000.0)])))
    assert one.size > 1000
    monkeypatch.setattr(time, "time", lambda: now + replica.SLACK + 6.0)
    one.take(1, line(Command("mark", "one", 2, now)))
    assert one.size < 10


def test_a_snapshot_is_wanted_once_there_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "SNAPSHOT_AFTER", 2000)
    one, now = Replica("one"), time.time()
    for place in range(3):
        assert not one.wanted
        one.take(place, line(Command("write", "one", place, now, "n", [Entry("a", bytes(800))])))
    assert one.wanted
    one.take(3, line(Command("begin", "other", 1, now)))
    assert not one.wanted
    assert one.snapshot == []
    one.take(4, line(Command("begin", "one", 4, now + 1.0)))
    assert one.snapshot == [], "somebody else makes one"
