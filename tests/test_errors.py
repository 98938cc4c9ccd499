"""Errors travel: between threads, processes and callers, and each arrives as what it was."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import longboat
from longboat.errors import JobFailed, LongboatError, Stopped, again

ELSEWHERE: set[str] = set()
"""Those that do not survive yet: take them off once they do."""

PROJECTS = ("longboat.contrib.django.", "longboat.contrib.flask.app")
"""Modules that look for the project of a framework when they are imported."""


def tree(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for each in kind.__subclasses__():
        yield from tree(each)


@pytest.fixture(scope="module")
def whole_tree() -> list[type[BaseException]]:
    """Every error of the package, those that adapters define too."""
    importlib.import_module("longboat.dashboard.screens")  # its modules cannot be imported in any order
    for module in pkgutil.walk_packages(longboat.__path__, "longboat."):
        if not module.name.endswith("__main__") and not module.name.startswith(PROJECTS):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if not module.name.startswith("longboat.contrib.") or str(error.name).startswith("longboat"):
                    raise  # only a framework may be missing
    found = {each for root in (LongboatError, Stopped) for each in tree(root) if each.__module__.startswith("longboat.")}
    return sorted(found, key=lambda each: each.__qualname__)


def full_name(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def test_each_error_can_be_copied_and_pickled(whole_tree: list[type[BaseException]]) -> None:
    assert len(whole_tree) > 20
    assert {full_name(kind) for kind in whole_tree if not survives(kind)} == ELSEWHERE


def survives(kind: type[BaseException]) -> bool:
    args = ("id", "task", "ValueError", "no", "Traceback …", 3) if issubclass(kind, JobFailed) else ("what happened",)
    try:
        error = kind(*args)
        copies = [type(error)(*error.args), copy.copy(error), pickle.loads(pickle.dumps(error)), again(error)]
    except TypeError:
        return False
    said = [(type(each), each.args, str(each), vars(each)) for each in (error, *copies)]
    return error not in copies and all(each == said[0] for each in said)


def test_the_whole_tree_is_drawn() -> None:
    drawn = inspect.getdoc(longboat.errors) or ""
    for kind in tree(LongboatError):
        if kind.__module__ == "longboat.errors":
            assert kind.__name__ in drawn
            assert getattr(longboat, kind.__name__) is kind


def test_each_line_of_the_drawing_names_a_class_with_its_bases() -> None:
    for line in (inspect.getdoc(longboat.errors) or "").splitlines():
        name, _, also = line.lstrip(" │├└─").partition(" ")
        if "─" in line:
            kind = getattr(longboat.errors, name)
            assert issubclass(kind, LongboatError)
            if "(also " in also:
                assert also.rpartition("(also ")[2].rstrip(")") in [each.__name__ for each in kind.__mro__]
