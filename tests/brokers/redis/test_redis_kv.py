"""Pages of entries that are bigger than one answer of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from longboat.contract.kv import ENTRY_LIMIT, Entry
from longboat.core.clock import SYSTEM
from tests.rigs.harnesses import NewRedis, unavailable


def test_big_notes_come_in_several_answers(tmp_path: Path) -> None:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    broker = NewRedis(tmp_path, SYSTEM).open()
    keys = [f"{n:03}" for n in range(24)]
    for key in keys:
        broker.kv.write("s", [Entry(key, key.encode() * (ENTRY_LIMIT // 3))])
    broker.kv.write("s", [Entry(f"9{n:04}", b"") for n in range(1500)])
    found = broker.kv.entries("s", limit=2000)
    assert [key for key, _ in found] == [*keys, *(f"9{n:04}" for n in range(1500))]
    assert all(value == key.encode() * (ENTRY_LIMIT // 3) for key, value in found[:24])
    assert len(broker.kv.read("s", [key for key, _ in found])) == 1524
    assert [key for key, _ in broker.kv.entries("s", after="010", before="013", limit=5)] == ["011", "012"]
    assert broker.kv.entries("s", before="") == []
    broker.close()
