"""An app that cannot be imported: two clear lines and status 3 at once; with --reload it is waited for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.rigs.fault import Yard, until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unmeasured")]  # they have a bound in seconds

WITHIN = 2.0


def write(file: Path, text: str) -> None:
    """At once, as editors do."""
    draft = file.with_suffix(".tmp")
    draft.write_text(text)
    os.replace(draft, file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no module 'broken'"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("def f(:\n", "SyntaxError"),
        ("app = 5\n", "not a Longboat app"),
        ("raise SystemExit(7)\n", "SystemExit: 7"),
    ],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_status_3_and_two_lines_each(text: str | None, said: str, workers: int, yard: Yard) -> None:
    if text is not None:
        write(yard.folder / "broken.py", text)
    began = time.monotonic()
    tree = yard.start("-n", str(workers), app="broken:app")
    assert tree.wait(10) == 3
    assert time.monotonic() - began < WITHIN
    lines = tree.said().splitlines()
    assert said in lines[0]
    assert len(lines) in range(2, 2 * workers + 1, 2), tree.said()  # those that were starting say it too


def test_with_reload_it_waits_until_the_file_is_mended(yard: Yard) -> None:
    file = yard.folder / "mending.py"
    write(file, "from tests.apps.fault_app import app\nimport no_such_module\n")
    tree = yard.start("--reload", app="mending:app")
    until(lambda: "no_such_module" in tree.said(), 10, tree.said)
    write(file, "def f(:\n")
    until(lambda: "SyntaxError" in tree.said(), 10, tree.said)
    assert [line.startswith("Error: ") for line in tree.said().splitlines()] == [True, False] * 2, tree.said()
    write(file, "from tests.apps.fault_app import app\n")
    tree.up()
    yard.enqueue("nap", 0.0)
    yard.until_over(5)
    write(file, "from tests.apps.fault_app import app\nx = 1\n")
    tree.up(2)
    yard.enqueue("nap", 0.0)
    yard.until_over(5)
    assert tree.stop() == 0
    yard.check.sound()


def test_one_that_waits_can_be_stopped(yard: Yard) -> None:
    tree = yard.start("--reload", app="broken:app")
    until(lambda: "no module" in tree.said(), 10, tree.said)
    assert tree.stop(2) == 0
