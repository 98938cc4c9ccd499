"""`python -m tests.contrib.django.suite.run FOLDER` runs Django's tests in FOLDER/tasks, with their backends replaced."""

from __future__ import annotations

import json
import sys
import unittest
from collections.abc import Iterator

import django
from django.conf import settings

BACKENDS = "tests.contrib.django.suite.backends"

DUMMY, IMMEDIATE = "test_dummy_backend.DummyBackend", "test_immediate_backend.ImmediateBackend"
LEFT_OUT = {
    f"{DUMMY}TestCase.test_refresh_result": "writes into the list of results of Django's backend",
    f"{DUMMY}TestCase.test_refresh_result_async": "writes into the list of results of Django's backend",
    f"{DUMMY}TransactionTestCase": "asks for jobs that do not wait for the commit; ours do",
    f"{IMMEDIATE}TransactionTestCase": "asks for jobs that do not wait for the commit; ours do",
    f"{IMMEDIATE}TestCase.test_throws_keyboard_interrupt": "asks that a task interrupts who enqueues it",
    f"{IMMEDIATE}TestCase.test_cannot_get_result": "asks that it cannot be done",
    f"{IMMEDIATE}TestCase.test_cannot_refresh_result": "asks that it cannot be done",
    f"{IMMEDIATE}TestCase.test_cannot_pass_run_after": "asks that it cannot be done",
    "test_custom_backend": "is of backends that it defines itself",
}
"""Tests that do not apply, or all of a class or module, and why."""
if django.VERSION[0] < 6:
    del LEFT_OUT["test_custom_backend"]  # the backport cannot import it
    LEFT_OUT |= {
        f"test_tasks.TaskTestCase.test_{name}": "is of Django 6.1; the backport cannot do it"
        for name in (
            "pickle_task",
            "pickle_task_result",
            "unpickle_arbitrary_string",
            "unpickle_non_task_object",
            "run_after_in_decorator",
        )
    }


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["longboat.contrib.django", *(() if django.VERSION[0] >= 6 else ["django_tasks"])],
        LONGBOAT={"URL": "memory://"},
        TASKS={"default": {"BACKEND": f"{BACKENDS}.DummyBackend", "QUEUES": []}},
        USE_TZ=True,
    )
    django.setup()
    names = sorted({"test_tasks", *(name.split(".")[0] for name in LEFT_OUT)})
    loaded = unittest.defaultTestLoader.loadTestsFromNames([f"tasks.{name}" for name in names])
    found = list(_each(loaded))
    chosen = [test for test in found if not _left_out(test)]
    done = unittest.TestResult()
    unittest.TestSuite(chosen).run(done)
    wrong = {str(test): text for test, text in (*done.errors, *done.failures)}
    unused = [name for name in LEFT_OUT if not any(_left_out(test) == name for test in found)]
    print(json.dumps({"ran": done.testsRun, "left_out": len(found) - len(chosen), "wrong": wrong, "unused": unused}))


def _each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _each(test)
        else:
            yield test


def _left_out(test: unittest.TestCase) -> str | None:
    """The entry of LEFT_OUT that a test falls under."""
    name = test.id().removeprefix("tasks.")
    return next((entry for entry in LEFT_OUT if name == entry or name.startswith(f"{entry}.")), None)


if __name__ == "__main__":
    main(sys.argv[1])
