"""The documentation site in a real browser: the search finds, everybody can read it, and no request leaves the host."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_site import built

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("there is no chromium; on Debian: apt install chromium", allow_module_level=True)

pytestmark = pytest.mark.slow


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = built(tmp_path_factory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(place))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def opened(browser: Browser, address: str, asked: list[str], **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return page


@pytest.mark.parametrize("path", ["", "reference/app/"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_read_it(browser: Browser, address: str, path: str, theme: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed").Axe()
    asked: list[str] = []
    page = opened(browser, address + path, asked, color_scheme=theme)
    violations = axe.run(page).response["violations"]
    moderate = {"landmark-unique"}  # of the theme's own parts
    assert [(each["id"], each["nodes"][0]["html"]) for each in violations if each["id"] not in moderate] == []
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.parametrize(("words", "page_title"), [("keep_result", "The app and its tasks"), ("systemd", "systemd")])
def test_the_search_finds(browser: Browser, address: str, words: str, page_title: str) -> None:
    page = opened(browser, f"{address}?q={words}", [])  # as a link to a search does
    found = page.locator(".md-search-result__item h1").first
    found.wait_for(state="attached")
    assert page_title in (found.text_content() or "")
