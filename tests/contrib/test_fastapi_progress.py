"""examples/fastapi-progress in a browser: the page follows a report, also when the server is killed in the middle."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.rigs.examples import answers, browser_page, copied, running
from tests.rigs.servers.process import free_ports

pytestmark = pytest.mark.slow


def test_the_page_follows_a_report_over_a_killed_server(tmp_path: Path) -> None:
    folder, (port,) = copied("fastapi-progress", tmp_path), free_ports(1)
    main = folder / "main.py"
    main.write_text(
        main.read_text().replace("worker=True", "worker=False")
    )  # a worker apart, which the server does not take along
    server = [sys.executable, "-m", "uvicorn", "main:api", "--port", str(port)]
    with browser_page() as page, running(folder, sys.executable, "-m", "longboat", "worker", "main"):
        with running(folder, *server) as first:
            answers(port)
            page.goto(f"http://127.0.0.1:{port}/")
            page.get_by_label("Pages").fill("15")
            page.get_by_role("button").click()
            page.wait_for_function("document.querySelector('progress').value >= 2")
            assert (page.text_content("output") or "").startswith("page ")
            first.kill()
        with running(folder, *server):
            page.get_by_text("3750 words").wait_for(timeout=30_000)
            assert page.evaluate("document.querySelector('progress').position") == 1
