"""Pool: `multiprocessing.Pool` over the queue."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NoReturn, Self, TypedDict, TypeVar, Unpack

from longboat.app import Longboat
from longboat.errors import ConfigError
from longboat.pools.future import JobFuture
from longboat.pools.jobs import Jobs
from longboat.pools.opening import app_and_number, opened
from longboat.pools.outcomes import AsyncResult, IMapIterator
from longboat.pools.private import Limits
from longboat.pools.way import NOTHING, Call, Setup
from longboat.worker.options import processors

T = TypeVar("T")

SHARE = 4
"""Chunks for each process, where nobody says how large they are to be."""
TOGETHER = 200
"""Chunks of an imap that are stored together, where the items are there already."""

Callback = Callable[[Any], object]


class Sending(TypedDict, total=False):
    """How the calls of a pool travel."""

    pickle: bool
    """Send whatever can be pickled. Default: False."""
    batch: str | None
    """A name by which a program that was killed comes back to its calls. Default: None."""


class Pool:
    """Runs functions as jobs: `with Pool() as pool: pool.map(f, items)`, as `multiprocessing.Pool` does.

    Without an app it works at once, in `processes` child processes of its own: as many as there are processors unless
    given. Its jobs are in memory. A process that dies is replaced, and what it ran runs again: up to five times. With an
    app, its jobs are in the app's broker, and the app's workers run them, wherever they are; `processes` then only says
    how many they are thought to have, when a map is cut into chunks. The number may come first, as with
    `multiprocessing.Pool`: `Pool(4)`.

    What travels is that of `longboat.Executor`: functions by their names, plain data, with `pickle=True` anything. The
    `initializer` runs once in each process before its first call (with an app: with `pickle=True` only).
    `maxtasksperchild`: jobs after which a child process is replaced; without an app only. `batch`: a name for the calls, as
    with `longboat.Executor`; `terminate` leaves those that have not ended for the next time.

    Raises ValueError or TypeError, as `multiprocessing.Pool` does, and ConfigError, which is a ValueError.
    """

    def __init__(
        self,
        app: Longboat | int | None = None,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        maxtasksperchild: int | None = None,
        **sending: Unpack[Sending],
    ) -> None:
        self._running = False
        app, processes = app_and_number(app, processes, "processes")
        if app is not None and maxtasksperchild is not None:
            raise ConfigError("maxtasksperchild: with an app, its own workers run the jobs, and end their processes")
        self._processes = processors() if processes is None else processes
        if self._processes < 1:
            raise ValueError(f"processes: {processes!r} must be at least 1")
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild < 1):
            raise ValueError(f"maxtasksperchild: {maxtasksperchild!r} must be a whole number of at least 1, or None")
        setup = None if initializer is None else Setup(initializer, tuple(initargs))
        self._jobs = opened(app, Limits(processes, maxtasksperchild), setup, patient=False, **sending)
        # The jobs do not know their pool: when it is dropped, they end as if it had been terminated.
        self._finalizer = weakref.finalize(self, self._jobs.kill)
        self._finalizer.atexit = False
        self._running = True

    # --- one call

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None) -> T:
        """What the call returns, once it has. Raises what it raised."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult[T]:
        """Returns once the call is stored. One of the callbacks is called when it has ended, from another thread."""
        futures = self._send(func, [[(tuple(args), kwds or NOTHING)]])
        return AsyncResult(self, futures, lambda values: values[0][0], callback, error_callback)

    # --- many

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """The results in the order of the items, once all calls have ended. Raises what one of them raised first."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult[list[T]]:
        """Returns once all calls are stored: `chunksize` of them are one job, by default so many that each process gets
        four. With an app each call is a job, unless `pickle=True`."""
        return self._map(func, [((item,), NOTHING) for item in iterable], chunksize, callback, error_callback)

    def starmap(self, func: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None) -> list[T]:
        """As `map`, of functions that take several arguments: each item holds those of one call."""
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult[list[T]]:
        """As `map_async`, of functions that take several arguments."""
        return self._map(func, [(tuple(item), NOTHING) for item in iterable], chunksize, callback, error_callback)

    def imap(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator[T]:
        """The results in the order of the items, as they come. The items are taken in another thread, as fast as they can be
        stored; what they raise is raised after the results before it."""
        return self._imap(func, iterable, chunksize, unordered=False)

    def imap_unordered(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator[T]:
        """As `imap`, in the order in which the calls end."""
        return self._imap(func, iterable, chunksize, unordered=True)

    # --- the end

    def close(self) -> None:
        """Take no more calls; the processes end once the last call has. After it, `join` waits for that."""
        self._running = False
        self._jobs.end(wait=False, cancel_futures=False)

    def terminate(self) -> None:
        """End now: calls that have not ended are stopped, and their results raise JobCancelled."""
        self._running = False
        self._finalizer.detach()
        self._jobs.kill()
        self.join()

    def join(self) -> None:
        """Wait until all calls and processes have ended. Raises ValueError before `close` or `terminate`."""
        if self._running:
            raise ValueError("Pool is still running")
        self._jobs.end(wait=True, cancel_futures=False)

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def __del__(self) -> None:
        if getattr(self, "_running", False) and not self._jobs.over:
            warnings.warn(
                f"unclosed running pool {self!r}", ResourceWarning, stacklevel=2
            )  # no source: whoever records it would keep the pool

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    # ---

    @property
    def running(self) -> bool:
        """Whether it takes calls."""
        return self._running and not self._jobs.over

    def _check_running(self) -> None:
        if not self._running:
            raise ValueError("Pool not running")

    def _send(self, func: Callable[..., Any], chunks: Sequence[Sequence[Call]]) -> list[JobFuture[Any]]:
        self._check_running()
        return self._jobs.add(func, chunks, list) if chunks else []

    def _size(self, chunksize: int | None, length: int) -> int:
        if not self._jobs.route.chunked:
            return 1
        return chunksize or max(1, -(-length // (self._processes * SHARE)))

    def _map(
        self,
        func: Callable[..., T],
        calls: Sequence[Call],
        chunksize: int | None,
        callback: Callback | None,
        error_callback: Callback | None,
    ) -> AsyncResult[list[T]]:
        size = self._size(chunksize, len(calls))
        futures = self._send(func, [calls[start : start + size] for start in range(0, len(calls), size)])
        return AsyncResult(self, futures, lambda values: list(chain.from_iterable(values)), callback, error_callback)

    def _imap(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int, *, unordered: bool
    ) -> IMapIterator[T]:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"chunksize: {chunksize!r} must be at least 1")
        size = self._size(chunksize, 0)
        found: IMapIterator[T] = IMapIterator(self, unordered)
        # A generator may take its time: each chunk of it leaves by itself.
        together = TOGETHER if isinstance(iterable, list | tuple | range) else 1
        feeder = threading.Thread(
            target=_feed, args=(self._jobs, found, func, iterable, (size, together)), name="longboat-pool-feed", daemon=True
        )
        self._jobs.begin()
        feeder.start()
        return found


def _feed(
    jobs: Jobs,
    found: IMapIterator[Any],
    func: Callable[..., Any],
    iterable: Iterable[Any],
    sizes: tuple[int, int],
) -> None:
    """Take the items, and enqueue their chunks; whatever is raised is of the place where it was raised."""
    size, together = sizes
    place = 0
    try:
        chunks = _chunks(iter(iterable), size)
        while some := list(islice(chunks, together)):
            for future in jobs.add_begun(func, some, list):
                found.follow(place, future)
                place += 1
    except BaseException as error:
        found.fail(place, error)
    else:
        found.finish(place)
    finally:
        jobs.finish()


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Call]]:
    while some := list(islice(items, size)):
        yield [((item,), NOTHING) for item in some]
