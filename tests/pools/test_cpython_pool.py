"""CPython's own tests of multiprocessing.Pool, as the installed Python carries them, run against ours by subclassing.

NOT_OURS lists what does not apply, with the reason. Distributions may leave the package out: then there is nothing to run.
"""

from __future__ import annotations

import multiprocessing
import unittest
from typing import Any

import pytest

from longboat import Pool
from tests.pools import cpython

pytestmark = pytest.mark.slow

MODULE = "test._test_multiprocessing"
CLASSES = cpython.found(f"{MODULE}:{name}" for name in ("_TestPool", "_TestPoolWorkerErrors", "_TestPoolWorkerLifetime"))

_INSIDE = "it looks at the private parts of CPython's"

NOT_OURS = {
    "test_make_pool": f"{_INSIDE} (test_options_that_cannot_be_meant)",
    "test_resource_warning": f"{_INSIDE} (test_one_that_is_dropped_is_terminated)",
    "test_pool_worker_lifetime": f"{_INSIDE} (test_processes_are_replaced_after_their_jobs)",
    "test_unpickleable_result": "what cannot be pickled is the TypeError or PicklingError itself, not MaybeEncodingError",
    "test_worker_finalization_via_atexit_handler_of_multiprocessing": (
        "its program imports the class from multiprocessing (test_a_program_that_leaves_its_pool_open_ends)"
    ),
    "test_traceback": "the cause is a JobFailed, which has the traceback as text (test_what_was_raised_comes_back)",
}


class Ours(Pool):
    """Called as the tests call the standard library's."""

    def __init__(self, processes: int | None = None, initializer: Any = None, initargs: Any = (), **more: Any) -> None:
        super().__init__(None, processes, initializer, initargs, pickle=True, **more)


def classes() -> list[type[unittest.TestCase]]:
    """Under their names in this module, where child processes find them."""
    for name, base in CLASSES.items():
        inside = {"TYPE": "processes", "Pool": Ours, "__test__": False, "__module__": __name__}
        globals()[f"{name.strip('_')}Case"] = type(f"{name.strip('_')}Case", (base, unittest.TestCase), inside)
    return [globals()[f"{name.strip('_')}Case"] for name in CLASSES]


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the tests call the function of the module."""
    monkeypatch.setattr(multiprocessing, "Pool", Ours)


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize(("case", "test"), cpython.cases(classes(), NOT_OURS, f"this Python comes without {MODULE}"))
def test_of_the_standard_library(case: Any, test: str) -> None:
    cpython.run(case, test)
