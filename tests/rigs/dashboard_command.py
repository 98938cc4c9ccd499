"""Runs the real `longboat dashboard` in a folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(folder: Path, *arguments: str, url: str = "", port: str = "0", **variables: str) -> Iterator[str]:
    """The command at work; gives its address: at a free port, or at 5555 if none is named (`port=""`)."""
    started = start(folder, *(["--port", port] if port else []), "--role", "admin", *arguments, url=url, **variables)
    assert started.stdout is not None
    lines = []
    try:
        while not (at := re.search(r"http://127\.0\.0\.1:\d+/", line := started.stdout.readline())):
            lines.append(line)
            assert line, lines
        assert port or at[0] == "http://127.0.0.1:5555/"
        yield at[0]
    finally:
        started.terminate()
        started.communicate(timeout=20)


def start(folder: Path, *arguments: str, url: str = "sqlite:///longboat.db", **variables: str) -> subprocess.Popen[str]:
    """The command, which writes both its outputs to one pipe; only these variables of ours are set."""
    (folder / "longboat.db").touch()  # it makes none
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGBOAT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "longboat", "dashboard", *(["--url", url] if url else []), *arguments],
        cwd=folder,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
