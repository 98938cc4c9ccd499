"""The admin and the dashboard of a Django project in a real browser, behind its login."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from longboat.contrib.django import app
from longboat.core.job import State
from tests.contrib.django.people import user
from tests.dashboard.test_browser import CHROMIUM, FLAGS, Visit, sync_api

pytestmark = pytest.mark.slow
SHOTS = os.environ.get("LONGBOAT_SHOTS", "")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address(job: str) -> Iterator[str]:  # noqa: ARG001  # there is a project, with a job
    with override_settings(DEBUG=True, ALLOWED_HOSTS=["127.0.0.1"], LANGUAGE_CODE="en"):
        server = make_server("127.0.0.1", 0, StaticFilesHandler(WSGIHandler()), server_class=_Server, handler_class=_Quiet)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_person_logs_in_looks_for_a_dead_job_and_retries_it(address: str, dead: str) -> None:
    name = user("view", "operate", "delete", staff=True).get_username()
    with sync_api.sync_playwright() as playwright:  # from here on, this thread may not use Django's ORM
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        _use(Visit(browser, address, viewport={"width": 1280, "height": 800}), name, dead)
        browser.close()


def _use(visit: Visit, name: str, dead: str) -> None:
    page = visit.go("/longboat/jobs?q=state:dead")
    page.fill("#id_username", name)
    page.fill("#id_password", "secret")
    page.click("[type=submit]")
    page.wait_for_url("**/longboat/jobs?q=state:dead")  # where the person wanted to go
    assert dead in page.content()
    visit.go("/admin/")
    page.click("text=Jobs")
    page.wait_for_selector("#result_list tbody tr:nth-child(2)")
    search, table, filters = (_box(page, each) for each in ("#searchbar", ".results", "#changelist-filter"))
    assert search["y"] < table["y"]
    assert table["x"] + table["width"] <= filters["x"]
    assert filters["x"] + filters["width"] <= 1280
    page.click("#changelist-filter a:has-text('dead (2)')")
    page.click("#changelist-filter a:has-text('refuse')")
    _picture(page, "list")
    page.click(f"text={dead}")
    _picture(page, "job")
    page.go_back()
    page.check("#action-toggle")
    assert "1 of 1 selected" in page.inner_text(".action-counter")
    page.select_option("[name=action]", "retry")
    page.click(".actions button")
    assert "1 job retried." in page.inner_text(".messagelist")
    assert app.job(dead).status() is State.READY
    visit.go("/admin/longboat/job/?state=ready")
    page.check("#action-toggle")
    page.select_option("[name=action]", "delete")
    page.click(".actions button")
    _picture(page, "sure")
    page.click("text=Yes, I’m sure")
    assert "1 job deleted." in page.inner_text(".messagelist")
    visit.go("/longboat/system")
    assert name in page.content()
    _picture(page, "dashboard")
    visit.close()


def _box(page: Any, selector: str) -> dict[str, float]:
    """Where it is, in pixels: x, y, width and height."""
    return dict(page.locator(selector).bounding_box())


def _picture(page: object, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")  # type: ignore[attr-defined]  # a page of playwright
