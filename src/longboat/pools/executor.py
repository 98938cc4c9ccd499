"""Executor: `concurrent.futures.Executor` over the queue."""

from __future__ import annotations

import concurrent.futures
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, ParamSpec, TypeVar, overload

from longboat.app import Longboat
from longboat.errors import ConfigError, LongboatError
from longboat.pools.future import JobFuture, cancel
from longboat.pools.opening import app_and_number, opened
from longboat.pools.private import Limits
from longboat.pools.way import NOTHING, Setup

P = ParamSpec("P")
T = TypeVar("T")


class Executor(concurrent.futures.Executor):
    """Runs functions as jobs: `with Executor() as pool: pool.map(f, items)`.

    Without an app it works at once, in child processes of its own: as many as there are processors, or `workers`. Its
    jobs are in memory. A process that dies is replaced, and what it ran runs again: up to five times. With an app, its
    jobs are in the app's broker, and the app's workers run them, wherever they are. The number may come first, as with
    `ProcessPoolExecutor`: `Executor(4)`.

    A function must be one that workers find by its name, at the top of a module; with an app, a task or a function of a
    module that its workers import. Arguments and results are plain data, or what the function's annotations say, as those
    of a task. `pickle=True` sends whatever can be pickled; lambdas and closures, too, with cloudpickle installed. With an
    app, the app must say so too, and what is sent is signed with the key in LONGBOAT_PICKLE_KEY.

    `batch`: a name for the calls that this program makes. When it is killed and started again, the calls that had ended
    are not run again, and give what they gave; a day later they are forgotten. `initializer(*initargs)` runs once in each
    process before its first call (with an app: with `pickle=True` only); if it raises, futures raise BrokenExecutor.

    Raises ConfigError, here and in `submit`, for what cannot be meant; `submit` also raises what `enqueue` raises.
    """

    def __init__(
        self,
        app: Longboat | int | None = None,
        workers: int | None = None,
        *,
        pickle: bool = False,
        batch: str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        app, workers = app_and_number(app, workers, "workers")
        if app is not None and workers is not None:
            raise ConfigError("workers: with an app, its own workers run the jobs: start them by `longboat worker`")
        setup = None if initializer is None else Setup(initializer, initargs)
        self._jobs = opened(app, Limits(workers), setup, patient=True, pickle=pickle, batch=batch)
        if app is None:
            # They do not know their executor: when it is dropped, they end as if it had been shut down.
            weakref.finalize(self, self._jobs.end, wait=False, cancel_futures=False).atexit = False

    @overload
    def submit(self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobFuture[Any]:
        """Enqueue a call. Returns once it is stored; raises RuntimeError after `shutdown`."""
        if isinstance(fn, _Chunk):
            return self._jobs.add(fn.fn, [[(some, NOTHING) for some in args[0]]], _reversed)[0]
        return self._jobs.add(fn, [[(args, kwargs)]], _single)[0]

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1, **more: Any
    ) -> Iterator[T]:
        """The results, in the order of the items, as `map` gives them. All jobs are stored together when it returns.

        `chunksize`: calls in one job; with an app always 1, unless `pickle=True`. `timeout`: seconds from now, TimeoutError
        when it is over. `buffersize` (from Python 3.14): items taken ahead.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize: {chunksize!r} must be at least 1")
        items = zip(*iterables, strict=False)
        size = chunksize if self._jobs.route.chunked else 1
        chunks = iter(lambda: list(islice(items, size)), [])
        if more:
            return _flat(super().map(_Chunk(fn), chunks, timeout=timeout, **more))
        end = None if timeout is None else time.monotonic() + timeout
        futures = self._jobs.add(fn, [[(some, NOTHING) for some in chunk] for chunk in chunks], _reversed)
        return _flat(_results(futures, end))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. `cancel_futures`: cancel those that no worker has taken. Without an app, the processes end
        once the last call has; `wait` waits for that."""
        self._jobs.end(wait, cancel_futures)


class _Chunk:
    """What `submit` is given for a chunk of calls, whose result is the list of theirs."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, _: Any) -> list[Any]:
        raise NotImplementedError("`submit` takes it apart, so nobody calls it")


def _single(values: list[T]) -> T:
    return values[0]


def _reversed(values: list[T]) -> list[T]:
    values.reverse()
    return values


def _results(futures: list[JobFuture[T]], end: float | None) -> Iterator[T]:
    """In order; nothing is kept that has been given. Those that nobody waits for any more are cancelled."""
    futures.reverse()
    try:
        while futures:
            futures[-1].exception(None if end is None else end - time.monotonic())
            yield futures.pop().result()
    finally:
        if futures:
            with suppress(LongboatError):  # it is a favour
                cancel(futures)


def _flat(chunks: Iterator[list[T]]) -> Iterator[T]:
    """The values of chunks that are in reverse; nothing is kept that has been given."""
    for chunk in chunks:
        while chunk:
            yield chunk.pop()
