"""FastAPI and Starlette: a lifespan, the app as a dependency, a job's server-sent events, the dashboard as a router."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from longboat.app import Longboat
from longboat.dashboard import longboat_dashboard
from longboat.errors import ConfigError, JobNotFound, Unsupported
from longboat.tasks.handle import Handle, Update

if TYPE_CHECKING:
    from fastapi import APIRouter

    from longboat.dashboard.mounted import Dashboard

Own = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]
AUTHORIZED = "longboat.authorized"
"""The key of a request's scope under which the dashboard finds what the dependency returned."""


def lifespan(app: Longboat, own: Own | None = None, *, worker: bool = False) -> Lifespan:
    """For `FastAPI(lifespan=lifespan(app))`: the app is closed when the program ends, and `get_longboat` finds it.

    `own`: your own lifespan, which runs within this one; what it yields is kept. `worker`: run the app's jobs in this
    process too, as long as it lives.
    """

    @asynccontextmanager
    async def run(program: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(app)
            if worker:
                await stack.enter_async_context(await asyncio.to_thread(app.worker))
            state = await stack.enter_async_context(own(program)) if own is not None else None
            yield {"longboat": app, **(state or {})}

    return run


def get_longboat(connection: HTTPConnection) -> Longboat:
    """The app of `lifespan`, as a dependency: `Annotated[Longboat, Depends(get_longboat)]`."""
    found = getattr(connection.state, "longboat", None)
    if not isinstance(found, Longboat):
        raise ConfigError(
            "this program's lifespan gives no Longboat: FastAPI(lifespan=longboat.contrib.fastapi.lifespan(app))"
        )
    return found


async def job_events(job: Handle[Any]) -> StreamingResponse:
    """A job's state and progress as server-sent events, until it has ended: `return await job_events(app.job(id))`.

    Each is the JSON of a longboat.Update and `ended`; on the last one `ended` is true, and the page should close its
    EventSource. Raises HTTPException 404 where there is no such job, and 501 where this process cannot watch it. On RabbitMQ
    without a store a process that did not enqueue the job ends the stream when it hears nothing of it for a minute: `error`
    of the last one says so.
    """
    updates = job.awatch()
    try:
        first = await anext(updates)
    except JobNotFound as error:
        raise HTTPException(404, str(error)) from None
    except Unsupported as error:
        raise HTTPException(501, str(error)) from None

    async def lines() -> AsyncIterator[bytes]:
        yield _event(last := first)
        try:
            async for update in updates:
                yield _event(last := update)
        except Unsupported as error:  # nothing was heard of it for long
            yield _event(msgspec.structs.replace(last, error=str(error)))

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # else nginx would keep them back
    return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


def _event(update: Update) -> bytes:
    told = {**msgspec.structs.asdict(update), "ended": update.state.ended}
    return b"data: " + msgspec.json.encode(told) + b"\n\n"


def dashboard(app: Longboat, authorize: Callable[..., Any], title: str = "") -> APIRouter:
    """The dashboard, for FastAPI: `api.include_router(dashboard(app, authorize), prefix="/jobs")`.

    `authorize` is a dependency, with dependencies of its own if you like. It returns "viewer", "operator" or "admin", or
    such a role and the person's name, or None for no access; or it raises HTTPException.
    """
    from fastapi import APIRouter, Depends

    mounted = longboat_dashboard(app, authorize=lambda request: request.scope[AUTHORIZED], title=title)

    @asynccontextmanager
    async def closed(_: object) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(mounted.close)

    router = APIRouter(lifespan=closed)
    said = Depends(authorize)

    @router.api_route("/{path:path}", methods=["GET", "HEAD", "POST"], include_in_schema=False)
    async def page(path: str, said: Any = said) -> Response:
        return _Within(mounted, path, said)

    return router


class _Within(Response):
    """An answer of the dashboard, for the rest of the path of the route that it stands in for."""

    def __init__(self, dashboard: Dashboard, path: str, said: Any) -> None:
        super().__init__()
        self._dashboard, self._inside, self._said = dashboard, f"/{path}", said

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outer, path = scope.get("root_path", ""), scope["path"]
        if outer and path.startswith(f"{outer}/"):
            path = path.removeprefix(outer)
        root = outer + path.removesuffix(self._inside)
        within = {**scope, "root_path": root, "path": root + self._inside, AUTHORIZED: self._said}
        await self._dashboard(within, receive, send)
