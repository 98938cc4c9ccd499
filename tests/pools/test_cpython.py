"""CPython's own tests of executors, as the installed Python carries them, run against ours by subclassing.

NOT_OURS lists what does not apply, with the reason. Distributions may leave the package out: then there is nothing to run.
"""

from __future__ import annotations

import importlib
import unittest
from typing import Any

import pytest

from longboat import Executor

pytestmark = pytest.mark.slow

PACKAGE = "test.test_concurrent_futures"
MIXINS = {
    "executor.ExecutorTest": "executor",
    "test_wait.WaitTests": "wait",
    "test_as_completed.AsCompletedTests": "as_completed",
    "test_shutdown.ExecutorShutdownTest": "shutdown",
}
"""By name; older Pythons have them all in one module."""

_PROGRAM = "its program imports the class from concurrent.futures"

NOT_OURS = {
    "test_max_workers_negative": "the parameter is called workers here (test_options_that_cannot_be_meant)",
    "test_interpreter_shutdown": f"{_PROGRAM} (test_a_program_ends_after_its_last_call)",
    "test_submit_after_interpreter_shutdown": _PROGRAM,
    "test_hang_gh83386": f"{_PROGRAM} (test_a_program_ends_after_its_last_call)",
}


class Ours(Executor):
    """Called as the tests call the standard library's."""

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__(workers=max_workers, pickle=True)


def mixins() -> dict[str, Any]:
    found = {}
    for place, name in MIXINS.items():
        module, _, wanted = place.partition(".")
        try:
            found[name] = getattr(importlib.import_module(f"{PACKAGE}.{module}"), wanted)
        except ImportError:
            try:
                found[name] = getattr(importlib.import_module(PACKAGE), wanted)
            except (ImportError, AttributeError):
                continue
    return found


class Rig(unittest.TestCase):
    """One executor a test, as theirs have it."""

    executor_type = Ours
    worker_count = 5

    def setUp(self) -> None:
        super().setUp()
        self.executor = Ours(self.worker_count)

    def tearDown(self) -> None:
        self.executor.shutdown()
        super().tearDown()


def cases() -> list[Any]:
    made = []
    for name, mixin in mixins().items():
        case = type(f"{name.title()}Case", (mixin, Rig), {})
        for test in unittest.defaultTestLoader.getTestCaseNames(case):
            reason = NOT_OURS.get(test)
            marks = [pytest.mark.skip(reason=reason)] if reason else []
            made.append(pytest.param(case, test, id=f"{name}-{test}", marks=marks))
    return made or [pytest.param(None, "", marks=pytest.mark.skip(reason=f"this Python comes without {PACKAGE}"))]


@pytest.mark.parametrize(("case", "test"), cases())
def test_of_the_standard_library(case: Any, test: str) -> None:
    result = unittest.TestResult()
    case(test).run(result)
    assert result.testsRun == 1
    assert [text for _, text in (*result.errors, *result.failures)] == []
