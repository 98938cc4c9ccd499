"""Pages of notes that are bigger than one answer of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from longboat.contract.kv import NOTE_LIMIT, Note
from longboat.core.clock import SYSTEM
from longboat.testing.harnesses import NewRedis, unavailable


def test_big_notes_come_in_several_answers(tmp_path: Path) -> None:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    broker = NewRedis(tmp_path, SYSTEM).open()
    keys = [f"{n:03}" for n in range(24)]
    for key in keys:
        broker.board.write("s", [Note(key, key.encode() * (NOTE_LIMIT // 3))])
    broker.board.write("s", [Note(f"9{n:04}", b"") for n in range(1500)])
    found = broker.board.notes("s", limit=2000)
    assert [key for key, _ in found] == [*keys, *(f"9{n:04}" for n in range(1500))]
    assert all(value == key.encode() * (NOTE_LIMIT // 3) for key, value in found[:24])
    assert len(broker.board.read("s", [key for key, _ in found])) == 1524
    assert [key for key, _ in broker.board.notes("s", after="010", before="013", limit=5)] == ["011", "012"]
    assert broker.board.notes("s", before="") == []
    broker.close()
