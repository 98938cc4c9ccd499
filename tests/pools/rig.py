"""Real workers of an app that runs signed pickles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.apps import pool_functions as functions
from tests.rigs.fault import Tree

KEY = "a key of the tests, which is no secret"

APP = f"""
import os
from longboat import Longboat

app = Longboat(os.environ["URL"], include=[{functions.__name__!r}], pickle=True)
"""


@contextmanager
def workers(folder: Path, url: str, key: str = KEY, *more: str) -> Iterator[Tree]:
    """A worker with two child processes, and what descends from it."""
    (folder / "pickles.py").write_text(APP)
    arguments = ("pickles:app", "--processes", "2", *more)
    tree = Tree(arguments, folder, {"URL": url, **({"LONGBOAT_PICKLE_KEY": key} if key else {})})
    try:
        tree.up()
        yield tree
    finally:
        tree.clean_up()
