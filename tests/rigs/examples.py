"""Runs an example's programs in a copy of its folder, and looks at their pages in a browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rigs.servers.process import HOST
from tests.rigs.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Page

EXAMPLES = Path(__file__).parents[2] / "examples"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
OTHERS = ("LONGBOAT_", "FLASK_")


def copied(name: str, folder: Path) -> Path:
    """A copy of the example in a new folder."""
    return shutil.copytree(EXAMPLES / name, folder / name)


@contextmanager
def running(folder: Path, *command: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command in this folder until the end of the block; what it writes goes into a file there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    with (folder / "log.txt").open("ab") as log:
        started = subprocess.Popen(
            command,
            cwd=folder,
            env={**kept, "PYTHONWARNINGS": "error", **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(30)


def answers(port: int) -> None:
    """Wait until somebody listens there."""

    def listens() -> bool:
        with socket.socket() as tried:
            return tried.connect_ex((HOST, port)) == 0

    until(listens, 60)


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a real browser; skips the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium; on Debian: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page()
        browser.close()
