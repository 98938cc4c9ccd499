"""Both type checkers accept right calls of tasks and refuse wrong ones, line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE = ROOT / "tests" / "types" / "wrong_calls.py"
REFUSED = {number for number, line in enumerate(FILE.read_text().splitlines(), 1) if line.endswith("# refused")}


def output(*command: str) -> str:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_mypy_refuses_the_wrong_calls() -> None:
    text = output("mypy", "--strict", "--config-file=", "--no-error-summary", "--show-error-codes", str(FILE))
    assert {int(found) for found in re.findall(r"wrong_calls\.py:(\d+): error", text)} == REFUSED, text


@pytest.mark.slow
def test_pyright_refuses_the_wrong_calls() -> None:
    text = output("pyright", "--outputjson", "--pythonpath", sys.executable, str(FILE))
    told = json.loads(text)["generalDiagnostics"]
    errors = {found["range"]["start"]["line"] + 1 for found in told if found["severity"] == "error"}
    assert errors == REFUSED, text
