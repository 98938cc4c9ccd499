"""What every test goes by: a module that uses a real server is slow, so that the quick tests need none."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Generator

import pytest

from tests.rigs import fast_tmp

fast_tmp.choose()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script, which has Ctrl-C ignored. Whoever we start would inherit that, and tests that
    # interrupt a program would wait for it in vain.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERVERS = "tests.rigs.servers"
HARNESSES = {"NewPostgres", "NewRabbitmq", "NewRabbitmqStore", "NewRedis"}
"""Those of tests/rigs/harnesses.py that start a server."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: looking through it for garbage took half of the time of starting."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and any(starts_a_server(each) for each in vars(item.module).values()):
            item.add_marker("slow")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down what coverage has seen. pytest-xdist kills a process of its that has not ended after ten seconds, and the
    servers that tests have started may take as long to stop."""
    coverage = sys.modules.get("coverage")
    if coverage is not None and hasattr(session.config, "workerinput") and (running := coverage.Coverage.current()):
        running.stop()
        running.save()


def starts_a_server(thing: object) -> bool:
    return isinstance(thing, type) and (thing.__module__.startswith(SERVERS) or thing.__name__ in HARNESSES)


INTERVALS = [
    "client.enqueue_events.LOOK",
    "client.relay.LOOK",
    "client.watch.EVERY",
    "observe.stream.BATCH_EVERY",
    "observe.stream.LOOK",
    "observe.stream.POLL",
    "operate.scheduler.LOOK",
    "operate.scheduler.SOON",
    "worker.health.AGAIN",
    "worker.leases.BEAT",
    "worker.load.EVERY",
    "worker.maintenance.LOOK",
    "worker.misfits.LOOK",
    "worker.parked.GATHERED",
    "worker.pause_filter.LOOK",
    "worker.progress_writer.WRITE_EVERY",
    "worker.record_writer.EVERY",
    "worker.recorder.EVERY",
    "worker.remote_commands.LOOK",
]


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this program looks after once in a second or two, it looks after twenty times a second."""
    for name in INTERVALS:
        monkeypatch.setattr(f"longboat.{name}", 0.05)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what a new process loads: the measuring of coverage would load more."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
