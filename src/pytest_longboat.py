"""pytest's fixtures for programs that use Longboat: docs/how-to/testing.md.

It stands outside the package because pytest loads it in every run, wherever Longboat is installed: what it needs is imported
by the first test that asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from longboat import Longboat
    from longboat.testing import Harness
    from longboat.testing.clock import MovedClock
    from longboat.worker.worker import Worker

INI = "longboat_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(INI, "the Longboat app that fixtures give to tests, as module:attribute", default="")


@pytest.fixture
def longboat_instance(pytestconfig: pytest.Config) -> Longboat:
    """The app to test: the one that the ini option `longboat_app` names. Override this fixture to make another."""
    from longboat.cli.locate import find
    from longboat.errors import AppNotFound

    named = pytestconfig.getini(INI)
    if not named:
        pytest.fail(
            f"no app is named: write `{INI} = module:attribute` in pytest's configuration, "
            "or override the fixture longboat_instance",
            pytrace=False,
        )
    try:
        return find(named)[0]
    except AppNotFound as error:
        pytest.fail(f"{INI} = {named}: {error}", pytrace=False)


@pytest.fixture
def longboat_jobs(longboat_instance: Longboat) -> Iterator[Harness]:
    """The app on a memory broker of this test's own. Jobs run when the test says so: see longboat.testing.Harness."""
    from longboat.testing import Harness

    with Harness(longboat_instance) as harness:
        yield harness


@pytest.fixture
def longboat_app(longboat_jobs: Harness) -> Longboat:
    """The app itself, on a memory broker of this test's own; what it was is restored afterwards."""
    return longboat_jobs.app


@pytest.fixture
def longboat_clock(longboat_jobs: Harness) -> MovedClock:
    """The time of the app's broker: it stands still until `longboat_clock.move("1h")`."""
    return longboat_jobs.clock


@pytest.fixture
def longboat_worker(longboat_jobs: Harness) -> Iterator[Worker]:
    """A real worker of the app in this process."""
    with longboat_jobs.worker() as worker:
        yield worker


@pytest.fixture
def eager(longboat_jobs: Harness) -> Iterator[Harness]:
    """`enqueue` runs the job before it returns, and raises what the job raises."""
    with longboat_jobs.eager():
        yield longboat_jobs


@pytest.fixture
def perform_jobs(longboat_jobs: Harness) -> Any:
    """`perform_jobs()` runs what is due now; see Harness.perform_jobs."""
    return longboat_jobs.perform_jobs


@pytest.fixture
def assert_enqueued(longboat_jobs: Harness) -> Any:
    """`assert_enqueued(task, "a@b.c", queue="mail")`; see Harness.assert_enqueued."""
    return longboat_jobs.assert_enqueued


@pytest.fixture
def assert_not_enqueued(longboat_jobs: Harness) -> Any:
    """The opposite of assert_enqueued."""
    return longboat_jobs.assert_not_enqueued


@pytest.fixture
def assert_idempotent(longboat_jobs: Harness) -> Any:
    """`assert_idempotent(task, 7, effects=look, reset=clear)`; see Harness.assert_idempotent."""
    return longboat_jobs.assert_idempotent
