"""examples/flask-shop with real servers: a person orders in a browser, and looks at the dashboard."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from longboat import Longboat
from tests.rigs.dashboard_command import serving
from tests.rigs.examples import answers, browser_page, copied, running
from tests.rigs.servers import rabbitmq, redis
from tests.rigs.servers.process import free_ports, is_free
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


Serving = Callable[[], AbstractContextManager[str]]


def the_job(page: Page, serving: Serving, _: str) -> None:
    with serving() as dashboard:
        page.goto(f"{dashboard}jobs?q=queue:shipping")
        page.get_by_role("link", name="flask_shop.ship").first.click()
        shown = page.text_content("main") or ""
    assert "packing tea" in shown
    assert "parcel 0001: tea" in shown


def the_work(page: Page, serving: Serving, url: str) -> None:
    """Where no job can be looked up: the worker, what it serves, and that it ended one job of the task; a job is cancelled,
    and another fails. A dashboard that is started again shows the same.

    The pages are live: what is not there yet appears. They are on the usual port, which nobody has named.
    """
    with serving() as dashboard:
        page.goto(f"{dashboard}workers")
        worker = page.get_by_role("region", name="Worker ").filter(has_text="shipping")
        worker.filter(has_text=re.compile(r"Jobs ended\s*1")).wait_for(timeout=30_000)
        page.goto(f"{dashboard}tasks")
        page.get_by_role("row", name=re.compile(r"flask_shop\.ship\s+1\b")).wait_for(timeout=30_000)
        with Longboat(url) as app:
            ship = app.named("flask_shop.ship").using(queue="shipping")
            ship.enqueue(999)  # of which there is no such order
            later = ship.using(delay="8s").enqueue(1)
            page.goto(f"{dashboard}jobs/{later.id}")
            page.get_by_role("button", name="Cancel").click()
            page.get_by_text(re.compile(r"It was cancelled .* unless it has ended")).wait_for()
            page.get_by_text(re.compile(r"It was cancelled .* and has ended")).wait_for(timeout=30_000)
            assert page.get_by_role("button", name="Cancel").count() == 0
        page.goto(f"{dashboard}failures")
        page.get_by_role("link", name="TypeError").wait_for(timeout=30_000)
    with serving() as dashboard:
        page.goto(f"{dashboard}failures")
        page.get_by_role("link", name="TypeError").wait_for(timeout=30_000)
        page.goto(f"{dashboard}tasks")
        page.get_by_role("row", name=re.compile(r"flask_shop\.ship\s+1\b")).wait_for(timeout=30_000)


@pytest.mark.parametrize(("name", "look"), [("redis", the_job), ("rabbitmq", the_work)])
def test_an_order_is_shipped_and_the_dashboard_shows_it(
    name: str, look: Callable[[Page, Serving, str], None], tmp_path: Path
) -> None:
    folder, (port,) = copied("flask-shop", tmp_path), free_ports(1)
    usual = name == "rabbitmq" and is_free(5555)
    with (
        browser_page() as page,
        broker(name, tmp_path) as url,
        running(folder, *FLASK, "longboat", "worker", LONGBOAT_URL=url),
        running(folder, *FLASK, "run", "--port", str(port), LONGBOAT_URL=url),
    ):
        answers(port)
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("Item").fill("tea")
        page.get_by_role("button", name="Order").click()
        page.get_by_role("cell", name="shipped").wait_for(timeout=60_000)
        page.get_by_role("cell", name="parcel 0001: tea").wait_for()
        look(page, partial(serving, folder, port="" if usual else "0", LONGBOAT_APP="flask_shop", LONGBOAT_URL=url), url)
    if name == "rabbitmq" and not usual:
        pytest.skip("port 5555 is taken on this machine: the page was looked at on another")
