"""CPython's own tests of executors, as the installed Python carries them, run against ours by subclassing.

NOT_OURS lists what does not apply, with the reason. Distributions may leave the package out: then there is nothing to run.
"""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

import pytest

from longboat import Executor
from tests.pools import cpython

pytestmark = pytest.mark.slow

PACKAGE = "test.test_concurrent_futures"
TESTS = (
    "executor:ExecutorTest",
    "test_wait:WaitTests",
    "test_as_completed:AsCompletedTests",
    "test_shutdown:ExecutorShutdownTest",
    "test_init:InitializerMixin",
)
CLASSES = cpython.found(
    [*(f"{PACKAGE}.{test}" for test in TESTS), *(f"{PACKAGE}:{test.partition(':')[2]}" for test in TESTS)]
)
"""Older Pythons have them all in one module."""

_PROGRAM = "its program imports the class from concurrent.futures"

NOT_OURS = {
    "test_max_workers_negative": "the parameter is called workers here (test_options_that_cannot_be_meant)",
    "test_interpreter_shutdown": f"{_PROGRAM} (test_a_program_ends_after_its_last_call)",
    "test_submit_after_interpreter_shutdown": _PROGRAM,
    "test_hang_gh83386": f"{_PROGRAM} (test_a_program_ends_after_its_last_call)",
}


class Ours(Executor):
    """Called as the tests call the standard library's."""

    def __init__(self, max_workers: int | None = None, **more: Any) -> None:
        super().__init__(workers=max_workers, pickle=True, **more)


class Rig(unittest.TestCase):
    """One executor a test, as theirs have it."""

    executor_type = Ours
    worker_count = 5
    executor_kwargs: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        super().setUp()
        self.executor: Ours | None = Ours(self.worker_count, **self.executor_kwargs)

    def tearDown(self) -> None:
        if self.executor is not None:  # a mixin has done it
            self.executor.shutdown()
        super().tearDown()


def classes() -> list[type[unittest.TestCase]]:
    return [type(f"{name}Case", (mixin, Rig), {}) for name, mixin in CLASSES.items()]


@pytest.mark.parametrize(("case", "test"), cpython.cases(classes(), NOT_OURS, f"this Python comes without {PACKAGE}"))
def test_of_the_standard_library(case: Any, test: str) -> None:
    cpython.run(case, test)
