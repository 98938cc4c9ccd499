"""The bus inside a process: a listener that raises or hangs harms nobody."""

from __future__ import annotations

import threading

import pytest

from longboat import Longboat
from longboat.observe.events import BACKLOG, Bus, Event, JobsLost, JobStarted, JobSucceeded, WorkerStarted, WorkerStopped


def test_each_listener_hears_all_in_order_in_a_thread_of_its_own() -> None:
    bus = Bus()
    heard: list[tuple[str, int]] = []
    bus.listen(lambda event: heard.append((threading.current_thread().name, number(event))))
    for place in range(100):
        bus.emit(JobsLost("w", place))
    bus.flush(5)
    assert heard == [("longboat-listener", place) for place in range(100)]


def test_one_that_raises_hears_the_next_event_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    heard: list[int] = []

    def listener(event: Event) -> None:
        heard.append(number(event))
        raise SystemExit("mine")

    bus.listen(listener)
    bus.emit(JobsLost("w", 1))
    bus.emit(JobsLost("w", 2))
    bus.flush(5)
    assert heard == [1, 2]
    assert "an event listener failed" in caplog.text


def test_what_waits_for_one_that_hangs_is_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    going_on = threading.Event()
    heard: list[int] = []

    def hangs(event: Event) -> None:
        going_on.wait(10)
        heard.append(number(event))

    others: list[int] = []
    bus.listen(hangs)
    bus.listen(lambda event: others.append(number(event)))
    for place in range(BACKLOG + 100):
        bus.emit(JobsLost("w", place))
        if place % 1000 == 0:
            bus._listeners[1].flush(5)
    bus.flush(0.01)
    assert not heard
    going_on.set()
    bus.flush(10)
    assert BACKLOG <= len(heard) <= BACKLOG + 1
    assert len(others) == BACKLOG + 100
    assert "events were dropped" in caplog.text


def test_jobs_go_on_beside_listeners_that_hang_and_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboat.worker.worker.LAST_WORDS", 0.3)
    going_on = threading.Event()
    heard: list[Event] = []
    seldom: list[Event] = []

    def hangs(_: Event) -> None:
        going_on.wait(20)

    def raises(event: Event) -> None:
        raise ValueError(event.worker)

    with Longboat("memory://") as app:

        @app.task
        def add(a: int, b: int) -> int:
            return a + b

        app.bus.listen(hangs, every_job=True)
        app.bus.listen(raises, every_job=True)
        app.bus.listen(heard.append, every_job=True)
        app.bus.listen(seldom.append)
        with app.worker():
            assert [job.result(5) for job in add.enqueue_many([(1, 2)] * 50)] == [3] * 50
        going_on.set()
    assert isinstance(heard[0], WorkerStarted)
    assert isinstance(heard[-1], WorkerStopped)
    assert sum(isinstance(event, JobSucceeded) for event in heard) == 50
    started = {event.id for event in heard if isinstance(event, JobStarted)}
    assert len(started) == 50
    assert [type(event) for event in seldom] == [WorkerStarted, WorkerStopped], "who did not ask is not woken for each job"


def number(event: Event) -> int:
    assert isinstance(event, JobsLost)
    return event.jobs
