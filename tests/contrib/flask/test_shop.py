"""examples/flask-shop with real servers: a person orders in a browser, and looks at the dashboard."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rigs.dashboard_command import serving
from tests.rigs.examples import answers, browser_page, copied, running
from tests.rigs.servers import rabbitmq, redis
from tests.rigs.servers.process import free_ports
from tests.rigs.servers.rabbitmq import RabbitmqServer
from tests.rigs.servers.redis import RedisServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLASK = [sys.executable, "-m", "flask", "--app", "flask_shop"]


@contextmanager
def broker(name: str, folder: Path) -> Iterator[str]:
    """The URL of a server of its own, with nothing beside it."""
    kinds = {"redis": (redis.available, RedisServer), "rabbitmq": (rabbitmq.available, RabbitmqServer)}
    available, make = kinds[name]
    if reason := available():
        pytest.skip(reason)
    server = make(folder / "server").start()
    try:
        yield server.url
    finally:
        server.stop()


def the_job(page: Page, dashboard: str) -> None:
    page.goto(f"{dashboard}jobs?q=queue:shipping")
    page.get_by_role("link", name="flask_shop.ship").first.click()
    shown = page.text_content("main") or ""
    assert "packing tea" in shown
    assert "parcel 0001: tea" in shown


def the_work(page: Page, dashboard: str) -> None:
    """Where no job can be looked up: the worker, what it serves, and that it ended one job of the task.

    The pages are live: what is not there yet appears.
    """
    page.goto(f"{dashboard}workers")
    worker = page.get_by_role("region", name="Worker ").filter(has_text="shipping")
    worker.filter(has_text=re.compile(r"Jobs ended\s*1")).wait_for(timeout=30_000)
    page.goto(f"{dashboard}tasks")
    page.get_by_role("row", name=re.compile(r"flask_shop\.ship\s+1\b")).wait_for(timeout=30_000)


@pytest.mark.parametrize(("name", "look"), [("redis", the_job), ("rabbitmq", the_work)])
def test_an_order_is_shipped_and_the_dashboard_shows_it(
    name: str, look: Callable[[Page, str], None], tmp_path: Path
) -> None:
    folder, (port,) = copied("flask-shop", tmp_path), free_ports(1)
    with (
        browser_page() as page,
        broker(name, tmp_path) as url,
        running(folder, *FLASK, "longboat", "worker", LONGBOAT_URL=url),
        running(folder, *FLASK, "run", "--port", str(port), LONGBOAT_URL=url),
        serving(folder, LONGBOAT_APP="flask_shop", LONGBOAT_URL=url) as dashboard,
    ):
        answers(port)
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("Item").fill("tea")
        page.get_by_role("button", name="Order").click()
        page.get_by_role("cell", name="shipped").wait_for(timeout=60_000)
        page.get_by_role("cell", name="parcel 0001: tea").wait_for()
        look(page, dashboard)
