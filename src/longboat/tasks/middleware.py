"""Middleware: wraps the making and the running of jobs, and may change both. (An event only observes.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from functools import wraps
from itertools import chain
from typing import Any

from longboat.core.job import Job
from longboat.tasks.current import Running, running
from longboat.tasks.outgoing import Outgoing


class Middleware:
    """Derive from this class and give an instance to `app.add_middleware`. Override any of its methods, or none.

    What a method raises is the failure of the call that enqueues, or of the attempt. Methods are called from any thread and
    from event loops.
    """

    def before_enqueue(self, job: Job) -> None:
        """A job is about to be stored. Change its headers here, or raise to refuse it."""

    def around_enqueue(
        self,
        outgoing: Outgoing,  # noqa: ARG002  # it is there to be overridden
    ) -> AbstractContextManager[Any] | None:
        """Return a context manager for a call that enqueues to run within, or None.

        It is entered in the caller before `before_enqueue` sees the jobs, and left once they are stored. It sees what the
        call raises.
        """
        return None

    def around(
        self,
        call: Running,  # noqa: ARG002  # it is there to be overridden
    ) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any] | None:
        """Return a context manager for an attempt of `call` to run within, or None.

        It is entered in the process, thread and context where the function runs, and sees what the function raises. For a
        coroutine task it may be asynchronous.
        """
        return None


@contextmanager
def passing(middlewares: Sequence[Middleware], outgoing: Outgoing) -> Iterator[None]:
    """Within what these middlewares want around this call, the first one outermost. They see each job before it leaves."""

    def seen(jobs: list[Job]) -> list[Job]:
        for job in jobs:
            for middleware in middlewares:
                middleware.before_enqueue(job)
        outgoing.count += len(jobs)
        return jobs

    if outgoing.batches is not None:
        outgoing.jobs = next(outgoing.batches, [])
        outgoing.batches = map(seen, chain([outgoing.jobs], outgoing.batches) if outgoing.jobs else ())
    with ExitStack() as stack:
        for middleware in middlewares if outgoing.jobs else ():
            layer = middleware.around_enqueue(outgoing)
            if layer is not None:
                stack.enter_context(layer)
        if outgoing.batches is None:
            seen(outgoing.jobs)
        yield


def wrapped(fn: Callable[..., Any], middlewares: Sequence[Middleware], *, is_async: bool) -> Callable[..., Any]:
    """The function within all of these, the first one outermost. It can be called within a running job only."""
    if not middlewares:
        return fn
    return _wrapped_coroutine(fn, middlewares) if is_async else _wrapped_function(fn, middlewares)


def _wrapped_coroutine(fn: Callable[..., Any], middlewares: Sequence[Middleware]) -> Callable[..., Any]:
    @wraps(fn)
    async def run(*args: Any, **kwargs: Any) -> Any:
        call = running.get()
        async with AsyncExitStack() as stack:
            for middleware in middlewares:
                layer = middleware.around(call)
                if isinstance(layer, AbstractAsyncContextManager):
                    await stack.enter_async_context(layer)
                elif layer is not None:
                    stack.enter_context(layer)
            return await fn(*args, **kwargs)

    return run


def _wrapped_function(fn: Callable[..., Any], middlewares: Sequence[Middleware]) -> Callable[..., Any]:
    @wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        call = running.get()
        with ExitStack() as stack:
            for middleware in middlewares:
                layer = middleware.around(call)
                if isinstance(layer, AbstractContextManager):
                    stack.enter_context(layer)
                elif layer is not None:
                    name = type(middleware).__name__
                    raise TypeError(f"{name}.around: an asynchronous context manager cannot wrap a plain function")
            return fn(*args, **kwargs)

    return run
