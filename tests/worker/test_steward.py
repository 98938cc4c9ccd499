"""The thread for what a worker does beside its jobs: nothing that fails there holds anything up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Lease
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.observe.events import Bus
from longboat.operate.pauses import pause
from longboat.testing.conformance.stage import job
from longboat.worker.heeding import Heeding
from longboat.worker.link import Link
from longboat.worker.options import options
from longboat.worker.steward import Steward


class Chore:
    def __init__(self, tend: Callable[[], None] = lambda: None) -> None:
        self.calls = 0
        self.called = threading.Event()
        self._tend = tend

    def tend(self, now: float) -> float:
        self.calls += 1
        self.called.set()
        self._tend()
        return now + 0.01


def fails(error: Exception) -> Callable[[], None]:
    def tend() -> None:
        raise error

    return tend


def test_chores_are_called_when_they_are_due_and_once_more_at_the_end() -> None:
    chore = Chore()
    steward = Steward([chore])
    steward.start()
    time.sleep(0.2)
    before = chore.calls
    assert before >= 3
    assert steward.close()
    assert chore.calls > before
    assert not Steward([chore]).close(), "it was never started"


@pytest.mark.filterwarnings("ignore")
def test_a_chore_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    broken, good = Chore(fails(ValueError("mine"))), Chore()
    steward = Steward([broken, good])
    steward.start()
    time.sleep(0.1)
    assert steward.close()
    assert good.calls >= 2
    assert "mine" in caplog.text


def test_a_clock_that_is_set_back_stops_no_chore(monkeypatch: pytest.MonkeyPatch) -> None:
    chore = Chore()
    steward = Steward([chore])
    steward.start()
    assert chore.called.wait(5)
    monkeypatch.setattr(SYSTEM, "now", lambda: time.time() - 3600)
    time.sleep(0.1)
    chore.called.clear()
    assert chore.called.wait(5)
    steward.close()


def test_what_a_broker_cannot_do_is_not_asked_again() -> None:
    chore, good = Chore(fails(Unsupported("no board"))), Chore()
    steward = Steward([chore, good])
    steward.start()
    time.sleep(0.1)
    steward.close()
    assert chore.calls == 1
    assert good.calls > 2


def test_a_broker_that_is_down_holds_up_the_end_once_only() -> None:
    first, second = Chore(fails(BrokerUnavailable("down"))), Chore()
    steward = Steward([first, second])
    steward.start()
    assert first.called.wait(5)
    calls = second.calls
    assert not steward.close()
    assert second.calls <= calls + 1


def test_pauses_reach_the_consumer_and_jobs_of_a_paused_task_wait() -> None:
    broker = MemoryBroker()
    link = Link(broker, options(), ["t"], "w", Bus())
    heeding = Heeding(broker.board, link, "w")
    broker.put([job(queue="stopped"), job(queue="open")])
    pause(broker.board, "queue", "stopped", True)
    pause(broker.board, "task", "t", True)
    assert heeding.tend(100.0) == 101.0
    leases: list[Lease] = link.consumer().receive(10, wait=0.0)
    assert [lease.job.queue for lease in leases] == ["open"]
    assert heeding.tasks == {"t"}
    parked = heeding.park(leases[0])
    assert parked.failure.type == "longboat.Paused"
    link.lost(link.consumer())
    assert link.consumer().receive(10, wait=0.0)[0].job.queue == "open", "a new consumer heeds it from the start"
    pause(broker.board, "queue", "stopped", False)
    heeding.tend(101.0)
    assert [lease.job.queue for lease in link.consumer().receive(10, wait=0.0)] == ["stopped"]
    link.close()
