"""Real workers of an app that runs signed pickles."""

from __future__ import annotations

import os
import signal
import time
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


def kill(number: int, marks: Path) -> None:
    """Kill so many processes that run `marked`, one after the other."""
    killed: set[int] = set()
    while len(killed) < number:
        texts = [text for file in sorted(marks.iterdir()) if (text := file.read_text()) and int(text) not in killed]
        if texts:
            os.kill(int(texts[0]), signal.SIGKILL)
            killed.add(int(texts[0]))
        time.sleep(0.05)


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
