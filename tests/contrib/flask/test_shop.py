"""examples/flask-shop with real servers: a person orders in a browser, and looks at the dashboard."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.rigs.dashboard_command import serving
from tests.rigs.servers import rabbitmq, redis
from tests.rigs.servers.rabbitmq import RabbitmqServer
from tests.rigs.servers.redis import RedisServer
from tests.rigs.waiting import until

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("there is no chromium; on Debian: apt install chromium", allow_module_level=True)

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[3] / "examples/flask-shop"


@contextmanager
def broker(name: str, folder: Path) -> Iterator[str]:
    """The URL of a server of its own."""
    kinds = {"redis": (redis.available, RedisServer), "rabbitmq": (rabbitmq.available, RabbitmqServer)}
    available, make = kinds[name]
    if reason := available():
        pytest.skip(reason)
    server = make(folder / "server").start()
    try:
        yield server.url if name == "redis" else f"{server.url}?results=sqlite:///{folder}/results.db"
    finally:
        server.stop()


@contextmanager
def running(folder: Path, url: str, *arguments: str) -> Iterator[None]:
    """`flask --app flask_shop …` until the end of the block."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LONGBOAT_", "FLASK_"))}
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "flask_shop", *arguments],
            cwd=folder,
            env={**kept, "LONGBOAT_URL": url, "PYTHONWARNINGS": "error"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        started.terminate()
        started.wait(30)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_an_order_is_shipped_and_the_dashboard_shows_it(name: str, tmp_path: Path) -> None:
    folder, port = tmp_path / "shop", free_port()
    shutil.copytree(EXAMPLE, folder)
    with ExitStack() as stack:
        url = stack.enter_context(broker(name, tmp_path))
        stack.enter_context(running(folder, url, "longboat", "worker"))
        stack.enter_context(running(folder, url, "run", "--port", str(port)))
        dashboard = stack.enter_context(serving(folder, FLASK_APP="flask_shop", LONGBOAT_APP="flask_shop", LONGBOAT_URL=url))
        playwright = stack.enter_context(sync_api.sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        stack.callback(browser.close)
        until(lambda: answers(port), 60)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("Item").fill("tea")
        page.get_by_role("button", name="Order").click()
        page.get_by_role("cell", name="shipped").wait_for(timeout=60_000)
        page.get_by_role("link", name="parcel").click()
        assert page.text_content("body") == "parcel 0001: tea"
        page.goto(f"{dashboard}jobs?q=queue:shipping")
        page.get_by_role("link", name="flask_shop.ship").first.click()
        shown = page.text_content("main") or ""
        assert "packing tea" in shown
        assert "parcel 0001: tea" in shown
