"""The thread for what a worker does beside its jobs: no task that fails or is slow there holds up another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Lease
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.observe.events import Bus
from longboat.operate.pauses import pause
from longboat.testing.conformance.stage import job
from longboat.worker.broker_link import BrokerLink
from longboat.worker.maintenance import BUDGET, MaintenanceLoop
from longboat.worker.options import options
from longboat.worker.pause_filter import PauseFilter
from longboat.worker.status import Status


class MaintenanceTask:
    def __init__(self, run: Callable[[], None] = lambda: None) -> None:
        self.calls = 0
        self.called = threading.Event()
        self._act = run

    def run(self, now: float) -> float:
        self.calls += 1
        self.called.set()
        self._act()
        return now + 0.01


def loop_of(*tasks: MaintenanceTask) -> MaintenanceLoop:
    return MaintenanceLoop(Status("w", 15.0), {f"{number}": task.run for number, task in enumerate(tasks)})


def fails(error: Exception) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


def test_tasks_are_called_when_they_are_due_and_once_more_at_the_end() -> None:
    task = MaintenanceTask()
    maintenance = loop_of(task)
    maintenance.start()
    time.sleep(0.2)
    before = task.calls
    assert before >= 3
    maintenance.last_round()
    assert maintenance.answered
    assert task.calls > before
    never = loop_of(task)
    never.last_round()
    assert not never.answered, "it was never started"


@pytest.mark.filterwarnings("ignore")
def test_a_task_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    broken, good = MaintenanceTask(fails(ValueError("mine"))), MaintenanceTask()
    maintenance = loop_of(broken, good)
    maintenance.start()
    time.sleep(0.1)
    maintenance.last_round()
    assert maintenance.answered
    assert good.calls >= 2
    assert "mine" in caplog.text


def test_a_clock_that_is_set_back_stops_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    task = MaintenanceTask()
    maintenance = loop_of(task)
    maintenance.start()
    assert task.called.wait(5)
    monkeypatch.setattr(SYSTEM, "now", lambda: time.time() - 3600)
    time.sleep(0.1)
    task.called.clear()
    assert task.called.wait(5)
    maintenance.close()


def test_what_a_broker_cannot_do_is_not_asked_again() -> None:
    task, good = MaintenanceTask(fails(Unsupported("no key-value store"))), MaintenanceTask()
    maintenance = loop_of(task, good)
    maintenance.start()
    time.sleep(0.1)
    maintenance.close()
    assert task.calls == 1
    assert good.calls > 2


def test_a_broker_that_is_down_holds_up_the_end_once_only() -> None:
    first, second = MaintenanceTask(fails(BrokerUnavailable("down"))), MaintenanceTask()
    maintenance = loop_of(first, second)
    maintenance.start()
    assert first.called.wait(5)
    calls = second.calls
    maintenance.last_round()
    assert not maintenance.answered
    assert second.calls <= calls + 1


def test_pauses_reach_the_consumer_and_jobs_of_a_paused_task_wait() -> None:
    broker = MemoryBroker()
    link = BrokerLink(broker, options(), ["t"], "w", Bus())
    pause_filter = PauseFilter(broker.kv, link, "w")
    broker.put([job(queue="stopped"), job(queue="open")])
    pause(broker.kv, "queue", "stopped", True)
    pause(broker.kv, "task", "t", True)
    assert pause_filter.run(100.0) == 101.0
    leases: list[Lease] = link.consumer().receive(10, wait=0.0)
    assert [lease.job.queue for lease in leases] == ["open"]
    assert pause_filter.tasks == {"t"}
    parked = pause_filter.park(leases[0])
    assert parked.failure.type == "longboat.Paused"
    link.lost(link.consumer())
    assert link.consumer().receive(10, wait=0.0)[0].job.queue == "open", "a new consumer heeds it from the start"
    pause(broker.kv, "queue", "stopped", False)
    pause_filter.run(101.0)
    assert [lease.job.queue for lease in link.consumer().receive(10, wait=0.0)] == ["stopped"]
    link.close()


class Housekeeper:
    """A broker with as much to tidy as there is time for."""

    capabilities = frozenset({Capability.TIDY})

    def __init__(self) -> None:
        self.budgets: list[float] = []

    def tidy(self, budget: float) -> float:
        self.budgets.append(budget)
        time.sleep(budget)
        return 0.0


def test_a_broker_with_much_to_tidy_leaves_the_others_their_turns() -> None:
    broker, other = Housekeeper(), MaintenanceTask()
    maintenance = MaintenanceLoop(Status("w", 15.0), {"tidying": lambda now: now + broker.tidy(BUDGET), "other": other.run})
    maintenance.start()
    time.sleep(1.0)
    maintenance.close()
    assert 3 <= len(broker.budgets) <= 6, "it works for half of the time, in portions"
    assert other.calls >= 20


def test_a_worker_tidies_a_broker_that_can_be_tidied(monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()

    def tidy(_: MemoryBroker, budget: float) -> float:
        assert 0 < budget <= 0.2
        called.set()
        return 1.0

    monkeypatch.setattr(MemoryBroker, "tidy", tidy, raising=False)
    monkeypatch.setattr(MemoryBroker, "capabilities", MemoryBroker.capabilities | {Capability.TIDY})
    with Longboat("memory://") as app, app.worker():
        assert called.wait(5)
