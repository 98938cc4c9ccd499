"""Executor: `concurrent.futures.Executor` over the queue."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread  # first: its own last act would come before what is registered below
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, ParamSpec, TypeVar, cast, overload

from longboat.app import Longboat
from longboat.client.waiting import value_of
from longboat.errors import ConfigError, JobCancelled, JobFailed, WorkerFailed
from longboat.pools.calls import PLAIN, Call
from longboat.pools.future import JobFuture, cancel
from longboat.pools.private import Private
from longboat.pools.raised import again
from longboat.tasks.handle import Handle

P = ParamSpec("P")
T = TypeVar("T")

Value = Callable[[Handle[Any]], Any]
"""The value of a handle whose job has ended. Raises what the future is to raise."""


class Executor(concurrent.futures.Executor):
    """Runs functions as jobs: `with Executor() as pool: pool.map(f, items)`.

    Without an app it works at once, in child processes of its own: as many as there are processors, or `workers`. Its jobs
    are in a private file, which is removed at the end. A process that dies is replaced, and what it ran runs again: up to
    five times. With an app, its jobs are in the app's broker, and the app's workers run them, wherever they are.

    A function must be one that workers find by its name, at the top of a module; with an app, a task or a function of a
    module that its workers import. Arguments and results are plain data, or what the function's annotations say, as those
    of a task. `pickle=True` (without an app only) sends whatever can be pickled; lambdas and closures, too, with cloudpickle
    installed.

    Raises ConfigError, here and in `submit`, for what cannot be meant; `submit` also raises what `enqueue` raises.
    """

    def __init__(self, app: Longboat | None = None, workers: int | None = None, *, pickle: bool = False) -> None:
        if app is not None and workers is not None:
            raise ConfigError("workers: with an app, its own workers run the jobs: start them by `longboat worker`")
        if app is not None and pickle:
            raise ConfigError("pickle=True is for an executor without an app: to whoever can write there, pickle is code")
        self._way = PLAIN
        if pickle:
            from longboat.pools.pickled import PICKLED

            self._way = PICKLED
        self._jobs = _Jobs(app, workers, self._way.run)
        if app is None:
            _open.add(self._jobs)
            # They do not know their executor: when it is dropped, they end as if it had been shut down.
            weakref.finalize(self, self._jobs.end, wait=False, cancel_futures=False).atexit = False

    @overload
    def submit(self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobFuture[Any]:
        """Enqueue a call. Returns once it is stored; raises RuntimeError after `shutdown`."""
        jobs = self._jobs
        if jobs.private is None:
            return jobs.add(lambda: jobs.app.enqueue(fn, *args, **kwargs), _value)
        if isinstance(fn, _Chunk):
            return self._send(jobs.private, fn.fn, [(some, {}) for some in args[0]], _reversed)
        return self._send(jobs.private, fn, [(args, kwargs)], _single)

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1, **more: Any
    ) -> Iterator[T]:
        """The results, in the order of the items, as `map` gives them.

        `chunksize`: calls in one job, with an app always 1. `timeout`: seconds from now, TimeoutError when it is over.
        `buffersize` (from Python 3.14): items taken ahead.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize: {chunksize!r} must be at least 1")
        if self._jobs.private is None:
            return super().map(fn, *iterables, timeout=timeout, **more)
        items = zip(*iterables, strict=False)
        chunks = iter(lambda: list(islice(items, chunksize)), [])
        return _flat(super().map(_Chunk(fn), chunks, timeout=timeout, **more))

    def _send(
        self, private: Private, fn: Callable[..., Any], some: Sequence[Call], pick: Callable[[list[Any]], T]
    ) -> JobFuture[T]:
        opened = self._way.opened
        data, kind = self._way.packed(fn, some)

        def send() -> Handle[bytes]:
            private.start()
            return private.task.enqueue(data)

        return self._jobs.add(send, lambda handle: pick(opened(value_of(handle), kind)))

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


class _Jobs:
    """The jobs of one executor that have not ended, and their end. It does not know the executor."""

    def __init__(self, app: Longboat | None, workers: int | None, run: Callable[[bytes], bytes]) -> None:
        self.private = private = Private(workers, run, self._fail) if app is None else None
        self.app: Longboat = private.app if private is not None else cast(Longboat, app)
        self._pid = os.getpid()
        self._lock = threading.RLock()  # the end of an executor that is dropped may come anywhere
        self._over = ""
        """Why no more are taken."""
        self._broken: WorkerFailed | None = None
        self._sending = 0
        self._pending: dict[str, JobFuture[Any]] = {}
        self._idle = threading.Condition(self._lock)
        self._closer: threading.Thread | None = None

    def add(self, send: Callable[[], Handle[Any]], value: Value) -> JobFuture[Any]:
        """The future of the job that `send` enqueues."""
        with self._lock:
            if self._broken is not None:
                raise self._broken
            if self._over:
                raise RuntimeError(self._over)
            self._sending += 1
        try:
            handle = send()
            future: JobFuture[Any] = JobFuture(self.app.client, handle.id)
            with self._lock:
                self._pending[handle.id] = future
                broken = self._broken
        finally:
            with self._lock:
                self._sending -= 1
                self._idle.notify_all()
        future.add_done_callback(self._forget)
        try:
            self.app.client.subscribe([handle], lambda _: self._settle(future, handle, value))
        except BaseException:  # closed meanwhile, or a task that keeps no result
            self._forget(future)
            raise
        if broken is not None:
            self._fail(broken)
        return future

    def _settle(self, future: JobFuture[Any], handle: Handle[Any], value: Value) -> None:
        """The job has ended. Runs in the thread that brings results: nothing may be raised there."""
        try:
            found, error = value(handle), None
        except JobCancelled:
            future.drop()
            return
        except BaseException as caught:
            found, error = None, caught
        if future.begin():
            if error is None:
                future.set_result(found)
            else:
                future.set_exception(error)

    def _forget(self, future: concurrent.futures.Future[Any]) -> None:
        assert isinstance(future, JobFuture)
        with self._lock:
            self._pending.pop(future.id, None)
            self._idle.notify_all()

    def _fail(self, error: WorkerFailed) -> None:
        """The worker has failed: whatever has not ended will not."""
        with self._lock:
            self._broken = error
            pending = list(self._pending.values())
        for future in pending:
            if future.begin():
                future.set_exception(error)

    # --- the end

    def end(self, wait: bool, cancel_futures: bool, why: str = "cannot schedule new futures after shutdown") -> None:
        if self._pid != os.getpid():
            return  # in a forked process: it is the parent's
        with self._lock:
            self._over = self._over or why
            if self._closer is None:
                self._closer = threading.Thread(target=self._close, name="longboat-pool-end", daemon=True)
                self._closer.start()
            while cancel_futures and self._sending:
                self._idle.wait()
            pending = list(self._pending.values())
        if cancel_futures:
            cancel(pending)
        if wait:
            self._closer.join()

    def _close(self) -> None:
        with self._lock:
            while self._pending or self._sending:
                self._idle.wait()
        if self.private is not None:
            self.private.close()
        _open.discard(self)


def _value(handle: Handle[Any]) -> Any:
    try:
        return value_of(handle)
    except JobFailed as error:
        raise again(error)  # noqa: B904  # it is the cause already, where it is another one


def _single(values: list[T]) -> T:
    return values[0]


def _reversed(values: list[T]) -> list[T]:
    values.reverse()
    return values


def _flat(chunks: Iterator[list[T]]) -> Iterator[T]:
    """The values of chunks that are in reverse; nothing is kept that has been given."""
    for chunk in chunks:
        while chunk:
            yield chunk.pop()


# --- the end of the program

_open: set[_Jobs] = set()
"""Of the executors without an app that have not ended. Jobs of an app go on without this program."""


def _end_all() -> None:
    for jobs in tuple(_open):
        jobs.end(wait=True, cancel_futures=False, why="cannot schedule new futures after interpreter shutdown")


os.register_at_fork(after_in_child=_open.clear)
# As CPython's executors do: what atexit offers comes too late, when threads can start no others.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # typeshed leaves it out
