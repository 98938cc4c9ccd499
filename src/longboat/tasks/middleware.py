"""Middleware: what wraps the making and the running of jobs, and may change both. (An event only observes.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from functools import wraps
from typing import Any

from longboat.core.job import Job
from longboat.tasks.current import Running, running

Pass = Callable[[list[Job]], list[Job]]
"""Has `before_enqueue` of each middleware called with each of these jobs, and returns them."""


class Outgoing:
    """What one call enqueues: a job, or with enqueue_many or a flow any number of jobs."""

    __slots__ = ("batch", "count", "first", "queue", "task")

    def __init__(self, jobs: Sequence[Job], *, batch: bool) -> None:
        """`jobs`: all of them, or the first of many that are alike."""
        self.first = jobs[0]
        self.batch = batch
        self.queue = self.first.queue if all(job.queue == self.first.queue for job in jobs) else ""
        """Empty where they go to several."""
        self.task = self.first.task if all(job.task == self.first.task for job in jobs) else ""
        """Empty where they are of several."""
        self.count = 0
        """How many have been made so far and were let pass."""


class Middleware:
    """To be derived from, and given to `app.add_middleware`. Each method may be left as it is.

    What it raises counts as the caller's or the attempt's failure. It is called from any thread, and from event loops.
    """

    def before_enqueue(self, job: Job) -> None:
        """A job is about to be stored; its headers may be changed. Raises to refuse it."""

    def around_enqueue(
        self,
        outgoing: Outgoing,  # noqa: ARG002  # it is there to be overridden
    ) -> AbstractContextManager[Any] | None:
        """What a call that enqueues runs within, in the caller, from before its jobs pass `before_enqueue` until they are
        stored; None: nothing. It sees what that raises.
        """
        return None

    def around(
        self,
        call: Running,  # noqa: ARG002  # it is there to be overridden
    ) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any] | None:
        """What an attempt of `call` runs within, in the process, thread and context where the function runs; None: nothing.

        A context manager (such as a function under @contextmanager), or for coroutine tasks also an asynchronous one. It
        sees what the function raises.
        """
        return None


@contextmanager
def enqueueing(middlewares: Sequence[Middleware], outgoing: Outgoing) -> Iterator[Pass]:
    """Within what all of these want around this call, the first one outermost; gives what lets its jobs pass them."""

    def let_pass(jobs: list[Job]) -> list[Job]:
        for job in jobs:
            for middleware in middlewares:
                middleware.before_enqueue(job)
        outgoing.count += len(jobs)
        return jobs

    with ExitStack() as stack:
        for middleware in middlewares:
            layer = middleware.around_enqueue(outgoing)
            if layer is not None:
                stack.enter_context(layer)
        yield let_pass


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
