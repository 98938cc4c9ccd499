"""A worker whose standard error cannot be written: it runs jobs, replaces processes that die, and ends in peace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import psutil
import pytest

from tests.rigs.fault import ROOT, Yard, until

pytestmark = pytest.mark.slow

FAKE = """
import sys

class Silent:
    def write(self, text): pass
    def flush(self): pass

sys.stderr = Silent()
from tests.apps.fault_app import app
"""


@pytest.mark.parametrize("how", ["nobody reads it", "the disk is full", "it has no descriptor"])
def test_output_that_cannot_be_written_ends_no_process(how: str, yard: Yard) -> None:
    (yard.folder / "silent.py").write_text(FAKE)
    app = "silent:app" if how == "it has no descriptor" else "tests.apps.fault_app:app"
    environment = {"LONGBOAT_URL": yard.url, "FAULT_LOG": str(yard.log), "PYTHONPATH": f"{ROOT}:{yard.folder}"}
    with ExitStack() as stack:
        if how == "nobody reads it":
            read, errors = os.pipe()
            os.close(read)
            stack.callback(os.close, errors)
        else:
            errors = stack.enter_context(open("/dev/full" if "disk" in how else os.devnull, "w")).fileno()
        command = [sys.executable, "-m", "longboat", "worker", app]
        tree = subprocess.Popen(command, cwd=yard.folder, env={**os.environ, **environment}, stdout=errors, stderr=errors)
        stack.callback(tree.wait)
        stack.callback(tree.terminate)
        yard.enqueue("nap", 0.0).result(timeout=20)
        [worker] = psutil.Process(tree.pid).children()
        worker.kill()
        yard.enqueue("nap_in_process", 0.0).result(timeout=20)
        until(lambda: worker not in psutil.Process(tree.pid).children(), 5)
        tree.send_signal(signal.SIGTERM)
        assert tree.wait(15) == 0
