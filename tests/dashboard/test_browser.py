"""The pages in a real browser: what a person does, in both themes, with keys, on a small screen, without scripts."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from longboat import Longboat
from longboat.core.job import State
from longboat.observe.history import failure_groups
from tests.rigs.dashboard import SCREENS, served, shop, stock, until
from tests.rigs.pictured import pictured
from tests.rigs.tcp_proxy import Proxy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("there is no chromium; on Debian: apt install chromium", allow_module_level=True)
VENDOR = Path(__file__).parents[2] / "src/longboat/dashboard/static/vendor"
if not (VENDOR / "uPlot.iife.min.js").exists():
    pytest.skip("uPlot is not there; get it by: python hatch_build.py", allow_module_level=True)

pytestmark = pytest.mark.slow

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FIRST = 60_000
"""Bytes of the first visit to a page, with scripts and styles."""
IDLE = 2_000
"""Bytes each second while nothing happens."""
SHOTS = os.environ.get("LONGBOAT_SCREENSHOTS", "")
"""A folder for pictures of the screens, for the documentation."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def app() -> Iterator[Longboat]:
    with shop("memory://") as app:
        stock(app)
        yield app


@pytest.fixture(scope="module")
def address(app: Longboat) -> Iterator[str]:
    with served(app) as address:
        yield address


class Visit:
    """A page that notes what the browser complains of, and what it asks of other hosts."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.address = address
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda message: self._console(message))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._request(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, url: str) -> None:
        if not url.startswith((self.address, "data:")):
            self.elsewhere.append(url)

    def go(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page

    def close(self) -> None:
        self.context.close()
        assert not self.complaints, self.complaints
        assert not self.elsewhere, self.elsewhere


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    visit = Visit(browser, address, viewport={"width": 1280, "height": 800})
    yield visit
    visit.close()


def screens_of(app: Longboat) -> list[str]:
    dead = app.broker.inspector.jobs(State.DEAD).jobs[0]
    flow = (
        dead.constraints.flow
        if dead.constraints
        else next(job.constraints.flow for job in app.broker.inspector.jobs(State.WAITING).jobs if job.constraints)
    )
    group = failure_groups(app.broker.kv)[0].fingerprint
    return [*SCREENS, f"/jobs/{dead.id}", f"/jobs/{dead.id}?edit=1", f"/failures/{group}", f"/flows/{flow}", "/jobs/unknown"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, address: str, app: Longboat, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed").Axe()
    visit = Visit(browser, address, color_scheme=theme, viewport={"width": 1280, "height": 900}, bypass_csp=True)
    found = {}
    for path in screens_of(app):
        page = visit.go(path)
        page.wait_for_timeout(150)
        violations = axe.run(page).response["violations"]
        if violations:
            found[path] = [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in violations]
    visit.context.close()
    assert not found, found


@pytest.mark.parametrize("width", [375, 768, 1920])
def test_no_screen_is_wider_than_the_window(browser: Browser, address: str, app: Longboat, width: int) -> None:
    visit = Visit(browser, address, viewport={"width": width, "height": 800})
    for path in screens_of(app)[:-1]:
        page = visit.go(path)
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    visit.close()


def test_reading_works_without_scripts(browser: Browser, address: str, app: Longboat) -> None:
    visit = Visit(browser, address, java_script_enabled=False)
    for path in screens_of(app)[:-1]:
        assert visit.go(path).locator("h1").count() == 1, path
    page = visit.go("/jobs")
    page.get_by_label("Search jobs").fill("state:dead")
    page.get_by_role("button", name="Search").click()
    assert "state%3Adead" in page.url
    page.locator("tbody a.go").first.click()
    page.get_by_text("Traceback (most recent call last)").first.wait_for()
    visit.close()


def test_no_screen_makes_the_browser_complain(visit: Visit, app: Longboat) -> None:
    for path in screens_of(app)[:-1]:
        visit.go(path).wait_for_timeout(200)


def test_charts_are_drawn(visit: Visit) -> None:
    page = visit.go("/")
    page.locator(".chart canvas").nth(3).wait_for()
    assert page.locator(".chart canvas").count() == 4
    page.wait_for_timeout(1500)
    assert page.locator(".chart canvas").count() == 4, "they outlive what changes around them"


def test_dragging_across_a_chart_opens_the_jobs_of_that_time(visit: Visit) -> None:
    page = visit.go("/tasks/shop.resize")
    plot = page.locator(".chart .u-over").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=4)
    page.mouse.up()
    page.get_by_text("Jobs that ran from").wait_for()
    assert re.fullmatch(r"after:\S+Z before:\S+Z task:shop\.resize", page.locator("#q").input_value())

    page = visit.go("/")
    link = page.locator(".chart .during").first
    link.focus()
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    chosen = re.fullmatch(r"Jobs (.+) – (.+)", link.inner_text())
    assert chosen is not None
    page.keyboard.press("Enter")
    page.get_by_text("Jobs that ran from").wait_for()
    words = dict(word.split(":", 1) for word in page.locator("#q").input_value().split())
    begin, end = (datetime.fromisoformat(words[word]).timestamp() for word in ("after", "before"))
    assert end - begin == 60, "two steps of 30 s, of fifteen minutes"


def test_a_change_shows_within_a_second(visit: Visit, app: Longboat) -> None:
    page = visit.go("/jobs?q=queue:fresh")
    page.get_by_text("No jobs match.").wait_for()
    took = []
    for number in range(3):
        app.named("shop.send_mail").using(queue="fresh").enqueue(to=f"fresh{number}@example.com")
        began = time.monotonic()
        page.get_by_text(f"fresh{number}@example.com").wait_for(timeout=5000)
        took.append(time.monotonic() - began)
    assert sorted(took)[1] < 1.0, took


def test_a_selection_pauses_the_page_and_says_so(visit: Visit, app: Longboat) -> None:
    mail = app.named("shop.send_mail").using(queue="picked")
    mail.enqueue(to="first@example.com")
    page = visit.go("/jobs?q=queue:picked")
    tick, paused = page.locator("tbody input").first, page.get_by_text("Paused while you select.")
    tick.check()
    paused.wait_for()
    mail.enqueue(to="second@example.com")
    page.wait_for_function("fetch(location.href).then(answer => answer.text()).then(text => text.includes('second@'))")
    page.wait_for_timeout(1500)
    assert page.get_by_text("second@example.com").count() == 0
    page.get_by_role("button", name="Keep updating").click()
    page.get_by_text("second@example.com").wait_for()
    paused.wait_for(state="hidden")
    focused = page.locator("a.go", has_text="first@example.com")
    focused.focus()
    mail.enqueue(to="third@example.com")
    page.get_by_text("third@example.com").wait_for()
    assert page.locator("tbody input:checked").count() == 1, "what is selected stays so"
    assert page.evaluate("document.activeElement.textContent").count("first@example.com") == 1, "and what is focused"


def test_a_page_says_that_it_is_out_of_date(browser: Browser, app: Longboat) -> None:
    with served(app) as behind, Proxy(int(behind.rpartition(":")[2])) as proxy:
        visit = Visit(browser, f"http://127.0.0.1:{proxy.port}")
        page = visit.go("/queues")
        proxy.lead_to(1)
        proxy.cut()
        page.get_by_text("The dashboard does not answer.").wait_for(timeout=10_000)
        proxy.lead_to(int(behind.rpartition(":")[2]))
        page.get_by_text("The dashboard does not answer.").wait_for(state="hidden", timeout=15_000)
        visit.context.close()


def test_traffic(browser: Browser, app: Longboat) -> None:
    """What comes over the wire: at the first visit, and in ten seconds in which nothing happens."""
    found: dict[str, tuple[int, int]] = {}
    with app.worker(threads=2), served(app) as behind, Proxy(int(behind.rpartition(":")[2])) as proxy:
        passed: list[int] = []
        proxy.change = lambda data: passed.append(len(data)) or data  # type: ignore[func-returns-value]  # a lambda that counts
        for path in ("/", "/jobs", "/queues", "/workers"):
            visit = Visit(browser, f"http://127.0.0.1:{proxy.port}")
            passed.clear()
            visit.go(path).wait_for_load_state("load")
            first = sum(passed)
            visit.page.wait_for_timeout(1000)
            passed.clear()
            visit.page.wait_for_timeout(10_000)
            found[path] = first, sum(passed) // 10
            visit.close()
    print("\n" + ", ".join(f"{path} {first:,} bytes, then {each} each second" for path, (first, each) in found.items()))
    assert max(first for first, _ in found.values()) < FIRST, found
    assert max(each for _, each in found.values()) < IDLE, found


def test_keys(visit: Visit) -> None:
    page = visit.go("/queues")
    page.keyboard.press("?")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.wait_for_url("**/jobs#q")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("state:dead")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?q=*")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    first = page.locator("tbody a.go").first
    assert page.evaluate("document.activeElement.id") == first.get_attribute("id")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Failed attempts").wait_for()
    page.keyboard.press("g")
    page.keyboard.press("w")
    page.wait_for_url("**/workers")


def test_the_theme_stays_as_it_was_chosen(visit: Visit) -> None:
    page = visit.go("/")
    light = page.evaluate("getComputedStyle(document.body.querySelector('.panel')).backgroundColor")
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme: light").click()
    page.get_by_role("button", name="Theme: dark").wait_for()
    page = visit.go("/queues")
    assert page.evaluate("getComputedStyle(document.body.querySelector('.panel')).backgroundColor") != light


def test_a_person_at_work(browser: Browser, tmp_path: Path) -> None:
    """Enqueue by the form, watch it run and fail, mend its arguments, pause a queue, follow a flow and cancel it."""
    with shop(f"sqlite:///{tmp_path}/jobs.db") as app, served(app) as address:
        visit = Visit(browser, address, viewport={"width": 1280, "height": 800})
        with app.worker(threads=2):
            page = visit.go("/workers")
            page.get_by_text("every queue").wait_for(timeout=8000)
            page = visit.go("/tasks/shop.resize")
            page.get_by_label("path").fill("photo.png")
            page.get_by_label("width").fill("-5")
            page.get_by_role("button", name="Enqueue").click()
            page.get_by_text("width -5 is not a width").first.wait_for(timeout=8000)  # it was watched until it died
            page.get_by_role("link", name="Edit and retry").click()
            page.get_by_label("Arguments, as JSON").fill('{"path": "photo.png", "width": 5}')
            page.get_by_role("button", name="Run", exact=True).click()
            page.locator("h1 .s-succeeded").wait_for(timeout=8000)
            page = visit.go("/failures")
            page.get_by_role("link", name="ValueError").click(timeout=8000)
            page.get_by_role("button", name="Retry all 1 dead").click()
            page.get_by_role("heading", name="finished").wait_for(timeout=8000)
            page = visit.go("/queues/default")
            page.get_by_role("button", name="Pause").click()
            page.locator("h1 .tag.warn").wait_for()
            time.sleep(1.5)  # the worker heeds it within a second
            from longboat import group

            resize: Any = app.named("shop.resize")
            total: Any = app.named("shop.total")
            flow = group(*[resize.s(path=f"{n}.png", width=n) for n in range(3)]).then(total).enqueue()
            page = visit.go("/flows")
            page.get_by_role("link", name="shop.total").click()
            assert page.locator("rect.box").count() == 4
            page.get_by_role("link", name="Cancel all").click()
            page.get_by_role("button", name="Yes").click()
            until(lambda: flow.status().jobs[State.CANCELLED] == 4)
            page.get_by_text("4 jobs of the flow cancelled").wait_for()
        page = visit.go("/audit")
        for done in ("enqueue", "edit", "bulk", "pause", "flow-cancel"):
            assert page.locator("td", has_text=done).count(), done
        visit.close()


def test_a_worker_is_made_quiet_and_stopped(browser: Browser, tmp_path: Path) -> None:
    with shop(f"sqlite:///{tmp_path}/jobs.db") as app, served(app) as address:
        visit = Visit(browser, address, viewport={"width": 375, "height": 800})
        with app.worker(threads=2) as worker:
            page = visit.go("/workers")
            page.get_by_role("button", name="Quiet").wait_for(timeout=8000)
            assert page.evaluate("document.documentElement.scrollWidth") <= 375
            page.get_by_role("button", name="Quiet").click()
            page.get_by_text(f"worker {worker.name} takes no more jobs").wait_for()
            page.locator(".worker .tag.warn", has_text="quiet").wait_for(timeout=3000)
            waits = app.named("shop.send_mail").enqueue(to="a@example.com")
            page.get_by_role("button", name="Resume").click(timeout=5000, delay=2500)  # longer than between looks
            until(lambda: waits.status().ended, 5)
            page.get_by_role("button", name="Quiet").wait_for(timeout=3000)
            page.get_by_role("link", name="Stop …").click()
            page.get_by_role("heading", name=f"Stop worker {worker.name}?").wait_for()
            page.get_by_role("link", name="No").click()
            page.get_by_role("link", name="Stop …").click()
            page.get_by_role("button", name="Yes").click()
            page.get_by_text("No workers are running").wait_for(timeout=8000)
            assert worker.reason == "commanded"
        visit.close()


@pytest.mark.skipif(not SHOTS, reason="LONGBOAT_SCREENSHOTS names no folder")
def test_pictures(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(SHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.delenv("LONGBOAT_SCREENSHOTS")
    monkeypatch.setenv("LONGBOAT_WORKER_QUEUES", "mail,default")
    monkeypatch.setenv("LONGBOAT_DASHBOARD_TOKEN", "not to be seen")
    with pictured() as app, served(app, title="Shop") as address:
        shown = dict(named(path) for path in screens_of(app) if path.startswith("/bulk?") or not OTHERS.search(path))
        for theme, some in (("light", shown), ("dark", {"overview-dark": "/"})):
            visit = Visit(browser, address, viewport={"width": 1280, "height": 800}, color_scheme=theme)
            for name, path in some.items():
                page = visit.go(path)
                page.wait_for_timeout(700)
                page.screenshot(path=folder / f"{name}.png")
            visit.close()


OTHERS = re.compile(r"[?]|/unknown$")
"""Paths of screens that are shown by another one."""


def named(path: str) -> tuple[str, str]:
    """The name of a screen's picture, and its path: "queues" is the list, "queue" the page of one."""
    first, _, second = path.partition("?")[0].strip("/").partition("/")
    return (first.removesuffix("s") if second else first or "overview"), path
