"""Where it is measured: `longboat serve` as a process, over a file on a disk, and the same kind of file used directly."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from bench.place import ROOT, folder, url

KEY = "0123456789abcdef0123456789abcdef"


@contextlib.contextmanager
def direct() -> Iterator[str]:
    """The URL of a new file."""
    with folder() as path:
        yield url(path, "full")


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The URL of a server over such a file."""
    os.environ["LONGBOAT_AUTHKEY"] = KEY
    with direct() as store:
        command = [sys.executable, "-m", "longboat", "serve", "--bind", "127.0.0.1:0", "--store", store, "--json"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                yield json.loads(process.stdout.readline())["url"]
            finally:
                process.terminate()
