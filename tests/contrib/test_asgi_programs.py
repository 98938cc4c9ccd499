"""Quart and Litestar, as docs/how-to/fastapi.md shows them: the lifespan, a job from a view, the dashboard."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypercorn.middleware import DispatcherMiddleware
from litestar import Litestar, asgi, get
from quart import Quart
from starlette.requests import Request
from starlette.testclient import TestClient

from longboat import Longboat
from longboat.dashboard import longboat_dashboard

pytestmark = pytest.mark.slow  # the quick tests do without these two

longboat = Longboat("memory://")


@longboat.task(name="add")
async def add(one: int, other: int) -> int:
    return one + other


def authorize(request: Request) -> str | None:
    return "operator" if request.headers.get("x-user") == "ann" else None


def quart() -> Any:
    app = Quart("shop")

    @app.while_serving
    async def jobs() -> AsyncGenerator[None, None]:
        async with longboat, longboat.worker():
            yield

    @app.get("/add")
    async def view() -> str:
        return str(await (await add.aenqueue(1, 2)))

    mounts: dict[str, Any] = {"/jobs": longboat_dashboard(longboat, authorize=authorize), "": app}
    return DispatcherMiddleware(mounts)


def litestar() -> Any:
    @asynccontextmanager
    async def jobs(_: Litestar) -> AsyncIterator[None]:
        async with longboat, longboat.worker():
            yield

    @get("/add")
    async def view() -> str:
        return str(await (await add.aenqueue(1, 2)))

    @asgi("/jobs", is_mount=True, copy_scope=True)
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].rstrip("/") or "/"  # Litestar adds a slash, and takes the prefix off
        await dashboard({**scope, "root_path": "/jobs", "path": f"/jobs{path}"}, receive, send)

    dashboard = longboat_dashboard(longboat, authorize=authorize)
    return Litestar([view, mounted], lifespan=[jobs])


@pytest.mark.parametrize("make", [quart, litestar])
def test_a_job_from_a_view_and_the_dashboard(make: Any) -> None:
    with TestClient(make(), follow_redirects=False, base_url="http://testserver") as client:
        assert client.get("/add").text == "3"
        assert client.get("/jobs/").status_code == 403
        client.headers["x-user"] = "ann"
        for path, what in {"/": "Overview", "/jobs": "add", "/queues/default": "default", "/tasks/add": "add"}.items():
            answer = client.get(f"/jobs{path}")
            assert (answer.status_code, what in answer.text) == (200, True), path
            found = re.findall(r'(?:src|action|href|data-stream)="(/[^"]*)', answer.text)
            assert [link for link in found if not link.startswith("/jobs/")] == [], path
        answer = client.post("/jobs/do/pause", data={"kind": "queue", "name": "other", "next": "/queues"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/jobs/queues")
