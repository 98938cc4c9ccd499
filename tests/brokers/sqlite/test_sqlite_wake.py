"""Bells: rung, missed, left behind by the dead, removed by somebody tidy."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker
from longboat.brokers.sqlite.wake import CONSUMER, LISTENER, Bell, Ringer, consumer_bell
from longboat.core.job import Job


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "wake")


def waiting(folder: str, name: str) -> Bell:
    """The bell of an owner that waits."""
    bell = Bell(folder, name)
    bell.listen()
    return bell


def waited(bell: Bell, timeout: float) -> float:
    begun = time.monotonic()
    bell.wait(timeout)
    bell.listen()
    return time.monotonic() - begun


def test_a_bell_wakes_its_owner_once(folder: str) -> None:
    bell, ringer = waiting(folder, CONSUMER + "1"), Ringer(folder)
    for _ in range(3):
        ringer.ring(CONSUMER)
    assert waited(bell, 5) < 1
    assert waited(bell, 0.05) >= 0.04, "rings that came together wake once"
    bell.close()
    ringer.close()


def test_only_bells_of_the_kind_are_rung(folder: str) -> None:
    bell, ringer = waiting(folder, CONSUMER + "1"), Ringer(folder)
    ringer.ring(LISTENER)
    assert waited(bell, 0.05) >= 0.04
    bell.close()
    ringer.close()


def test_a_bell_made_later_is_found(folder: str) -> None:
    first, ringer = waiting(folder, CONSUMER + "1"), Ringer(folder)
    ringer.ring(CONSUMER)
    second = waiting(folder, CONSUMER + "2")
    ringer.ring(CONSUMER)
    assert waited(second, 5) < 1
    first.close()
    second.close()
    ringer.close()


def test_a_full_bell_does_not_block(folder: str) -> None:
    bell, ringer = waiting(folder, CONSUMER + "1"), Ringer(folder)
    for _ in range(70_000):
        ringer.ring(CONSUMER)
    assert waited(bell, 5) < 1
    bell.close()
    ringer.close()


def test_as_many_waiters_are_rung_as_there_are_jobs(folder: str) -> None:
    bells = [waiting(folder, consumer_bell(f"{n}-x", ["a"])) for n in range(3)]
    other, every = waiting(folder, consumer_bell("4-x", ["b"])), waiting(folder, consumer_bell("5-x", []))
    ringer = Ringer(folder)
    bells[0].ring()  # it waits no longer
    ringer.ring_some("a", 2)
    ringer.ring_some("a", 1)
    rung = [bell for bell in [*bells[1:], other, every] if waited(bell, 0.02) < 0.015]
    assert rung == [*bells[1:], every]
    ringer.ring_some("b", 1)
    assert sum(waited(bell, 0.02) < 0.015 for bell in (other, every)) == 1
    for bell in (*bells, other, every):
        bell.close()
    ringer.close()


def test_the_bell_of_a_dead_owner_is_removed(folder: str) -> None:
    bell, ringer = waiting(folder, CONSUMER + "1"), Ringer(folder)
    ringer.ring(CONSUMER)
    pid = os.fork()
    if pid == 0:
        Bell(folder, CONSUMER + "2")
        os._exit(0)  # without closing it, as a killed process does
    os.waitpid(pid, 0)
    assert sorted(os.listdir(folder)) == ["c-1", "c-2"]
    ringer.ring(CONSUMER)
    assert os.listdir(folder) == ["c-1"]
    bell.close()
    ringer.close()
    assert os.listdir(folder) == []


def test_an_owner_that_dies_while_it_is_known_is_removed(folder: str) -> None:
    bell, ringer = waiting(folder, CONSUMER + "1"), Ringer(folder)
    ringer.ring(CONSUMER)
    os.close(bell._fd)
    bell._fd = -1
    ringer.ring(CONSUMER)
    assert os.listdir(folder) == []
    bell.close()
    ringer.close()


def test_a_bell_that_was_removed_is_made_again(folder: str) -> None:
    bell, ringer = waiting(folder, CONSUMER + "1"), Ringer(folder)
    os.unlink(os.path.join(folder, "c-1"))
    bell.wait(0.01)
    ringer.ring(CONSUMER)
    assert waited(bell, 5) < 1
    bell.close()
    ringer.close()


def test_closing_wakes_who_waits(folder: str) -> None:
    bell = waiting(folder, CONSUMER + "1")
    thread = threading.Thread(target=bell.wait, args=(30,))
    thread.start()
    bell.close()
    thread.join(5)
    assert not thread.is_alive()
    bell.close()


def test_a_child_keeps_no_bell_of_its_parent_alive(folder: str) -> None:
    bell = waiting(folder, CONSUMER + "1")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"closed" if bell._fd == -1 else b"open")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 10) == b"closed"
    os.close(reading)
    os.close(writing)
    bell.close()


def test_a_wake_up_that_was_missed_heals(
    broker: SqliteBroker, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = broker.consumer(["default"], lease=30)
    monkeypatch.setattr("longboat.brokers.sqlite.wake.queue_mark", lambda queue: f"nobody's {queue}")
    timer = threading.Timer(0.1, broker.put, args=([job()],))
    timer.start()
    begun = time.monotonic()
    leases = consumer.receive(1, wait=10)
    timer.join()
    consumer.close()
    assert len(leases) == 1
    assert time.monotonic() - begun < 2
