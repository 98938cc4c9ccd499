"""The public surface: what `import longboat` gives, and how little it costs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import longboat

LATE = ["asyncio", "click", "multiprocessing", "sqlite3"]
"""Imported when they are needed, never by `import longboat`."""


def test_the_surface_is_sorted_and_importable() -> None:
    assert list(longboat.__all__) == sorted(longboat.__all__)
    assert len(set(longboat.__all__)) == len(longboat.__all__)
    for name in longboat.__all__:
        assert getattr(longboat, name) is not None, name


def test_nothing_else_is_offered() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        longboat.no_such_name  # type: ignore[attr-defined]  # noqa: B018  # a module may answer by __getattr__


@pytest.mark.parametrize("module", LATE)
@pytest.mark.usefixtures("unmeasured")
def test_import_is_light(module: str) -> None:
    code = f"import sys, longboat; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, f"import longboat imports {module}"


def test_every_public_name_imports_alone() -> None:
    lines = "\n".join(f"from longboat import {name}" for name in longboat.__all__)
    done = subprocess.run([sys.executable, "-W", "error", "-c", lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_typed_and_versioned() -> None:
    assert longboat.__file__ is not None
    assert (Path(longboat.__file__).parent / "py.typed").is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", longboat.__version__)
    assert importlib.metadata.version("longboat") == longboat.__version__
