"""CPython's own test cases, where the installed Python carries them, as parameters of ours."""

from __future__ import annotations

import importlib
import unittest
from collections.abc import Iterable, Mapping
from typing import Any

import pytest


def found(places: Iterable[str]) -> dict[str, Any]:
    """Classes by name, of "module:name"; those that are not there are left out."""
    classes: dict[str, Any] = {}
    for place in places:
        module, _, name = place.partition(":")
        try:
            classes.setdefault(name, getattr(importlib.import_module(module), name))
        except (ImportError, AttributeError, unittest.SkipTest):
            continue
    return classes


def cases(classes: Iterable[type[unittest.TestCase]], not_ours: Mapping[str, str], otherwise: str) -> list[Any]:
    """Each test of each class. `not_ours`: by name, why one does not apply. `otherwise`: why there may be none."""
    made = []
    for case in classes:
        for test in unittest.defaultTestLoader.getTestCaseNames(case):
            reason = not_ours.get(test)
            marks = [pytest.mark.skip(reason=reason)] if reason else []
            made.append(pytest.param(case, test, id=f"{case.__name__}-{test}", marks=marks))
    return made or [pytest.param(None, "", marks=pytest.mark.skip(reason=otherwise))]


def run(case: type[unittest.TestCase], test: str) -> None:
    """One test, with its class's fixtures."""
    result = unittest.TestResult()
    unittest.TestSuite([case(test)]).run(result)
    assert result.testsRun == 1
    said = [text for _, text in (*result.errors, *result.failures)]
    assert not said, "".join(said)
