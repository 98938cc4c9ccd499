"""FastAPI's door: the lifespan, the app as a dependency, models as arguments, events of a job, the dashboard as a router."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from longboat import ConfigError, Longboat, Unsupported, current
from longboat.contrib.fastapi import dashboard, get_longboat, job_events, lifespan
from longboat.operate import audit
from longboat.tasks.handle import Handle

longboat = Longboat("memory://")
GO = threading.Event()


class Item(BaseModel):
    name: str = Field(min_length=2)
    price: float = 1.0


class Order(BaseModel):
    items: list[Item]
    note: str | None = None


class Receipt(BaseModel):
    total: float


@longboat.task(name="bill")
async def bill(order: Order) -> Receipt:
    assert isinstance(order.items[0], Item)
    return Receipt(total=sum(item.price for item in order.items))


@longboat.task(name="count")
def count(numbers: int) -> int:
    for number in range(numbers):
        current().progress(number + 1, numbers, "counting")
    assert GO.wait(30)
    return numbers


App = Annotated[Longboat, Depends(get_longboat)]


async def user(x_user: Annotated[str, Header()]) -> str:
    if x_user == "eve":
        raise HTTPException(401, "who are you?")
    return x_user


async def role(name: Annotated[str, Depends(user)]) -> str | tuple[str, str] | None:
    return ("operator", "ann") if name == "ann" else {"guest": "viewer"}.get(name)


def made() -> FastAPI:
    @asynccontextmanager
    async def own(api: FastAPI) -> AsyncIterator[dict[str, str]]:
        api.state.entered = True
        yield {"own": "state"}
        api.state.left = True

    api = FastAPI(lifespan=lifespan(longboat, own, worker=True))
    api.include_router(dashboard(longboat, role, title="Shop"), prefix="/ops/jobs")

    @api.post("/orders")
    async def order(order: Order) -> dict[str, str]:
        return {"id": (await bill.aenqueue(order)).id}

    @api.get("/orders/{id}")
    async def receipt(id: str, app: App, request: Request) -> dict[str, Any]:
        return {"total": (await app.job(id))["total"], "own": request.state.own}

    @api.post("/counts")
    async def start(app: App) -> str:
        return (await app.asend("count", 3)).id

    @api.get("/jobs/{id}/events")
    async def events(id: str, app: App) -> Response:
        return await job_events(app.job(id))

    return api


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(made(), follow_redirects=False) as opened:
        yield opened


def test_a_model_goes_from_the_request_to_the_job_and_back(client: TestClient) -> None:
    order = {"items": [{"name": "tea", "price": 2.5}, {"name": "cup"}]}
    order_id = client.post("/orders", json=order).json()["id"]
    assert client.get(f"/orders/{order_id}").json() == {"total": 3.5, "own": "state"}
    assert client.post("/orders", json={"items": [{"name": "x"}]}).status_code == 422


def test_the_lifespan_closes_the_app_and_runs_your_own() -> None:
    api = made()
    with TestClient(api):
        before = longboat.client
        assert api.state.entered
    assert api.state.left
    assert longboat.client is not before
    longboat.close()


def go_on(job: Handle[Any]) -> None:
    """Let it end once its progress is written."""
    for update in job.watch():
        if update.done == 3:
            GO.set()


def test_a_job_tells_how_far_it_is(client: TestClient) -> None:
    GO.clear()
    job = client.post("/counts").json()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(go_on, longboat.job(job))
        answer = client.get(f"/jobs/{job}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert [each["ended"] for each in told] == [False] * (len(told) - 1) + [True]
    assert told[-1] == {"state": "succeeded", "done": 3.0, "total": 3.0, "text": "counting", "error": "", "ended": True}
    assert client.get("/jobs/nobody/events").status_code == 404


def test_the_app_can_be_overridden_and_a_missing_lifespan_is_told() -> None:
    bare = FastAPI()

    @bare.get("/")
    def shown(app: App) -> str:
        return repr(app)

    with TestClient(bare) as client:
        with pytest.raises(ConfigError, match=r"FastAPI\(lifespan="):
            client.get("/")
        bare.dependency_overrides[get_longboat] = lambda: longboat
        assert client.get("/").json() == "<Longboat memory://>"


def test_a_process_that_cannot_watch_a_job_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> AsyncIterator[None]:
        raise Unsupported("not in this process")
        yield

    monkeypatch.setattr(type(longboat.client), "awatch", refuse)
    answer = client.get("/jobs/some/events")
    assert (answer.status_code, answer.json()["detail"]) == (501, "not in this process")


def test_starlette_has_the_same() -> None:
    async def index(request: Request) -> Response:
        job = await get_longboat(request).asend("bill", {"items": [{"name": "tea"}]})
        return await job_events(job)

    with TestClient(Starlette(routes=[Route("/", index)], lifespan=lifespan(longboat, worker=True))) as client:
        assert '"state":"succeeded"' in client.get("/").text.splitlines()[-2]


@pytest.mark.parametrize("root", ["", "/behind/a/proxy"])
def test_the_dashboard_is_guarded_by_a_dependency(root: str) -> None:
    before = set(threading.enumerate())
    with TestClient(made(), root_path=root, follow_redirects=False) as client:
        client.post("/counts")
        status = {"eve": 401, "bob": 403, "ann": 200, "guest": 200}
        assert {name: client.get("/ops/jobs/", headers={"x-user": name}).status_code for name in status} == status
        client.headers["x-user"] = "ann"
        for path in ("/", "/jobs", "/queues/default", "/tasks/count"):
            answer = client.get(f"/ops/jobs{path}")
            assert answer.status_code == 200, path
            found = re.findall(r'(?:src|action|href|data-stream)="(/[^"]*)', answer.text)
            assert [link for link in found if not link.startswith(f"{root}/ops/jobs/")] == []
            assert "Shop" in answer.text
        pause = {"kind": "queue", "name": "other", "next": "/queues"}
        answer = client.post("/ops/jobs/do/pause", data=pause)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{root}/ops/jobs/queues")
        assert audit.newest(longboat.broker.kv)[0].who == "ann"
        assert client.post("/ops/jobs/do/pause", data=pause, headers={"x-user": "guest"}).status_code == 403
        assert "/ops" not in str(client.get("/openapi.json").json()["paths"])
        GO.set()
    assert not [each for each in set(threading.enumerate()) - before if each.name == "longboat-depth"], (
        "the dashboard is closed"
    )
