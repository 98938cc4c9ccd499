"""An app with middlewares, importable by child processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from contextvars import ContextVar
from typing import Any

from longboat import Job, Longboat, Middleware, Running

app = Longboat("memory://")
tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
seen: list[Any] = []


class Tenant(Middleware):
    """Carries a context variable from the caller to the job."""

    def before_enqueue(self, job: Job) -> None:
        if tenant.get() == "banned":
            raise PermissionError("banned")
        job.headers = {**job.headers, "tenant": tenant.get()}

    @contextmanager
    def _set(self, call: Running) -> Iterator[None]:
        token = tenant.set(call.headers["tenant"])
        try:
            yield
        except ValueError as error:
            seen.append((call.task, call.attempt, str(error)))
            raise
        finally:
            tenant.reset(token)

    def around(self, call: Running) -> AbstractContextManager[None]:
        return self._set(call)


class Awaited(Middleware):
    """An asynchronous layer, for coroutine tasks only."""

    @asynccontextmanager
    async def _log(self, call: Running) -> AsyncIterator[None]:
        seen.append(("enter", call.task, tenant.get()))
        yield
        seen.append(("leave", call.task, tenant.get()))

    def around(self, call: Running) -> AbstractAsyncContextManager[None] | None:
        return self._log(call) if call.task == "acoroutine" else None


@app.task(name="acoroutine")
async def acoroutine() -> str:
    return tenant.get()


app.add_middleware(Tenant())
app.add_middleware(Awaited())


@app.task(name="plain")
def plain() -> str:
    return tenant.get()


@app.task(name="process", executor="process")
def process() -> str:
    return tenant.get()


@app.task(name="fails")
def fails() -> None:
    raise ValueError("no")
