"""The programs under examples/ do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LAN = Path(__file__).parents[1] / "examples" / "lan" / "lan.py"


def run(path: str) -> str:
    done = subprocess.run(
        [sys.executable, str(LAN)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_master_and_two_workers_on_a_network() -> None:
    said = run(os.environ["PATH"])
    assert "1000 squares in" in said
    assert "the largest 998,001" in said
    assert "a file of 100 MB was read where it lies" in said
    if "namespaces of their own" in said:
        assert "workers were met at 10.99.0.2, 10.99.0.3" in said
    else:
        assert "all on loopback" in said


def test_where_namespaces_may_not_be_made_all_are_on_loopback(tmp_path: Path) -> None:
    said = run(str(tmp_path))  # there is no `ip` on this PATH
    assert "all on loopback" in said
    assert "1000 squares in" in said
