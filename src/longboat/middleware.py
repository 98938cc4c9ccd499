"""Middleware: what wraps the making and the running of jobs, and may change both. (An event only observes.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from functools import wraps
from typing import Any

from longboat.current import Running, running
from longboat.job import Job


class Middleware:
    """To be derived from, and given to `app.add_middleware`. Each method may be left as it is.

    What it raises counts as the caller's or the attempt's failure. It is called from any thread, and from event loops.
    """

    def before_enqueue(self, job: Job) -> None:
        """A job is about to be stored; its headers may be changed. Raises to refuse it."""

    def around(
        self,
        call: Running,  # noqa: ARG002  # it is there to be overridden
    ) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any] | None:
        """What an attempt of `call` runs within, in the process, thread and context where the function runs; None: nothing.

        A context manager (such as a function under @contextmanager), or for coroutine tasks also an asynchronous one. It
        sees what the function raises.
        """
        return None


def wrapped(fn: Callable[..., Any], middlewares: Sequence[Middleware], *, is_async: bool) -> Callable[..., Any]:
    """The function within all of these, the first one outermost; called within a running job only."""
    if not middlewares:
        return fn
    if is_async:

        @wraps(fn)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            call = running.get()
            async with AsyncExitStack() as stack:
                for middleware in middlewares:
                    layer = middleware.around(call)
                    if isinstance(layer, AbstractAsyncContextManager):
                        await stack.enter_async_context(layer)
                    elif layer is not None:
                        stack.enter_context(layer)
                return await fn(*args, **kwargs)

        return arun

    @wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        call = running.get()
        with ExitStack() as stack:
            for middleware in middlewares:
                layer = middleware.around(call)
                if isinstance(layer, AbstractContextManager):
                    stack.enter_context(layer)
                elif layer is not None:
                    raise TypeError(
                        f"{type(middleware).__name__}.around: an asynchronous layer cannot wrap a plain function"
                    )
            return fn(*args, **kwargs)

    return run
