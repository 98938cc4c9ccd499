"""joblib's backend: `parallel_config("longboat")` once this is imported, for scikit-learn and whatever else uses joblib."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any

import joblib
from joblib.parallel import AutoBatchingMixin, BatchedCalls, FallbackToBackend, ParallelBackendBase, SequentialBackend

from longboat.app import Longboat
from longboat.pools.outcomes import AsyncResult
from longboat.pools.pool import Pool
from longboat.worker.options import processors

NAME = "longboat"
FOLDER = "JOBLIB_TEMP_FOLDER"
"""The variable by which joblib is told where large arrays go."""


class LongboatBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """Runs joblib's batches as jobs: `with parallel_config("longboat", n_jobs=4): …`.

    Without `app` in child processes of this program, which later calls use again. With `app=`, which must say
    `pickle=True`, in those of its workers; `n_jobs` then is how many batches are on their way at a time.

    Arrays of `max_nbytes` or more that are arguments are written to a file once, and mapped where they are used, read-only
    unless `mmap_mode` says otherwise. With an app that needs a `temp_folder` that program and workers share.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(self, app: Longboat | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._app = app
        self._arrays: _Arrays | None = None

    # What joblib calls is what its docstrings say; pyright reads types off bodies that do nothing.
    def effective_n_jobs(self, n_jobs: int | None) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """How many batches may run at a time. Raises ValueError for 0."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(1, processors() + 1 + n_jobs)

    def configure(  # pyright: ignore[reportIncompatibleMethodOverride]  # all are given by name
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        max_nbytes: int | None = 1_000_000,
        mmap_mode: str | None = "r",
        temp_folder: str | None = None,
        **_: Any,
    ) -> int:
        """Called by joblib before each `Parallel`. Raises ConfigError for an app that runs no pickles."""
        count = self.effective_n_jobs(n_jobs)
        if count == 1 and self._app is None:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._pool_of = partial(_pool, self._app, count, self._threads(count))
        self._pool_of()
        folder = temp_folder or os.environ.get(FOLDER)
        if max_nbytes is not None and mmap_mode is not None and (self._app is None or temp_folder):
            self._arrays = _Arrays(folder, max_nbytes, mmap_mode)
        return count

    def _threads(self, count: int) -> int | None:
        """How many threads numpy and the like may use in each process, so that together they do not want more than there
        are processors. Of an app's workers only what the caller says."""
        chosen: int | None = self.inner_max_num_threads
        if chosen is not None or self._app is not None:
            return chosen
        return max(processors() // count, 1)

    def submit(self, func: BatchedCalls, callback: Callable[[Any], object] | None = None) -> AsyncResult[Any]:
        """Enqueue a batch of calls; `callback` gets what it returns, or what it raises."""
        if self._arrays is not None:
            func = self._arrays.outside(func)
        return self._pool_of().apply_async(func, callback=callback, error_callback=callback)

    def retrieve_result_callback(self, out: Any) -> Any:
        """The list that a batch returned. Raises what it raised."""
        if isinstance(out, BaseException):
            raise out
        return out

    def terminate(self) -> None:
        """Called by joblib after each `Parallel`: the processes stay for the next one."""
        if self._arrays is not None:
            self._arrays.remove()
            self._arrays = None
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002  # the next batch makes a new pool
        """A call has raised: stop the others."""
        self._pool_of().terminate()


class _Arrays:
    """Files of large arrays: each array is written once, whatever number of batches it is in."""

    def __init__(self, folder: str | None, least: int, mode: str) -> None:
        self._parent = folder
        self._least = least
        self._mode = mode
        self._folder = ""
        self._known: dict[int, tuple[weakref.ref[Any], _Stored]] = {}
        """By the array's id; forgotten with the array."""
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # joblib submits from the threads that bring results, too

    def outside(self, batch: BatchedCalls) -> BatchedCalls:
        """The same batch, with files in place of the large arrays among its arguments."""
        made = copy(batch)
        made.items = [
            (fn, [self._small(value) for value in args], {name: self._small(value) for name, value in kwargs.items()})
            for fn, args, kwargs in _items(batch)
        ]
        return made

    def _small(self, value: Any) -> Any:
        size, kind = getattr(value, "nbytes", 0), getattr(value, "dtype", None)
        # Its module says whether it is numpy's, which need not be installed.
        if type(value).__module__.partition(".")[0] != "numpy" or kind is None or kind.hasobject or size < self._least:
            return value
        with self._lock:
            known = self._known.get(id(value))
            if known is None:
                self._folder = self._folder or tempfile.mkdtemp(prefix="longboat-joblib-", dir=self._parent)
                path = os.path.join(self._folder, f"{next(self._numbers)}.pkl")
                joblib.dump(value, path)
                forget = partial(self._forget, id(value))
                known = self._known[id(value)] = weakref.ref(value, forget), _Stored(path, self._mode)
            return known[1]

    def _forget(self, id: int, _: object) -> None:
        self._known.pop(id, None)

    def remove(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Stored:
    """Stands for an array on its way; it arrives as one that is mapped."""

    def __init__(self, path: str, mode: str) -> None:
        self._arguments = path, mode

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return joblib.load, self._arguments


def _items(batch: BatchedCalls) -> Sequence[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]]:
    found: Sequence[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]] = batch.items
    return found


# --- the pools, which later calls use again

_pools: dict[tuple[int, int, int, int | None], tuple[Longboat | None, Pool]] = {}
"""By process, app, size and threads; with the app, so that its id stays its own. They end with the program."""
_making = threading.Lock()


def _pool(app: Longboat | None, count: int, threads: int | None) -> Pool:
    key = os.getpid(), id(app), count, threads
    with _making:
        known = _pools.get(key)
        if known is None or not known[1].running:
            setup = None if threads is None else _limit_threads
            known = _pools[key] = app, Pool(app, count, setup, (threads,) if setup else (), pickle=True)
        return known[1]


def _limit_threads(number: int) -> None:
    """In a process that runs batches, before the first one."""
    for name in ParallelBackendBase.MAX_NUM_THREADS_VARS:
        os.environ[name] = str(number)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # then it holds for what is loaded from now on
        return
    threadpool_limits(number)


joblib.register_parallel_backend(NAME, LongboatBackend)
