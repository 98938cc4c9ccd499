"""Watches the program's source files, for `longboat worker --reload`."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

EVERY = 0.5
"""Seconds between looks. A look costs one stat per file: a few hundred microseconds for a typical program."""


class Watcher:
    """Watches the imported modules and every .py file below the working directory."""

    def __init__(self) -> None:
        self._seen = self._look()

    def start(self, changed: Callable[[], object]) -> None:
        """Call `changed` once, from another thread, when a file is changed, added or removed."""

        def run() -> None:
            while not self._differs():
                time.sleep(EVERY)
            changed()

        threading.Thread(target=run, name="longboat-reload", daemon=True).start()

    def _differs(self) -> bool:
        """A module that was only imported in the meantime is new here, but is not a change."""
        now = self._look()
        here = os.getcwd() + os.sep
        fresh = now.keys() - self._seen.keys()
        if any(file.startswith(here) for file in fresh) or any(now.get(f) != at for f, at in self._seen.items()):
            return True
        self._seen |= now
        return False

    def _look(self) -> dict[str, int]:
        return {file: changed for file in self._files() if (changed := _changed(file)) is not None}

    def _files(self) -> set[str]:
        files = {
            file
            for module in list(sys.modules.values())
            if (file := getattr(module, "__file__", None)) and not file.startswith((sys.prefix, sys.base_prefix))
        }
        for folder, folders, names in os.walk(os.getcwd()):
            folders[:] = [name for name in folders if not name.startswith((".", "_")) and name != "node_modules"]
            files.update(os.path.join(folder, name) for name in names if name.endswith(".py"))
        return files


def _changed(file: str) -> int | None:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None
