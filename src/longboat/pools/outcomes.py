"""What the methods of a Pool return: AsyncResult, and the iterators of imap and imap_unordered."""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

from longboat.errors import JobCancelled

T = TypeVar("T")

Future = concurrent.futures.Future[Any]

log = logging.getLogger("longboat.pools")


def error_of(future: Future) -> BaseException | None:
    """What a future that is done has raised."""
    if future.cancelled():
        return JobCancelled("the call was cancelled: the pool was terminated, or somebody cancelled its job")
    return future.exception()


class AsyncResult(Generic[T]):
    """The outcome of one call, or of all calls of a map: ready once the last of them has ended, though one has failed."""

    def __init__(
        self,
        pool: object,
        futures: Sequence[Future],
        value: Callable[[list[Any]], T],
        callback: Callable[[T], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        """`pool` is kept until it has ended. `value` makes the value, of what the futures gave in their order."""
        self._pool: object = pool
        self._futures: Sequence[Future] = futures
        self._make = value
        self._callback, self._error_callback = callback, error_callback
        self._value: Any = None
        self._error: BaseException | None = None
        self._left = len(futures)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        if not futures:
            self._value = value([])
            self._ready.set()
        for future in futures:
            future.add_done_callback(self._ended)

    def ready(self) -> bool:
        """Whether it has ended."""
        return self._ready.is_set()

    def successful(self) -> bool:
        """Whether nothing was raised. Raises ValueError before it has ended."""
        if not self.ready():
            raise ValueError(f"{self!r} is not ready")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, for at most so many seconds."""
        self._ready.wait(timeout)

    def get(self, timeout: float | None = None) -> T:
        """What was returned. Raises what was raised first; multiprocessing.TimeoutError if it has not ended in time,
        JobCancelled after `terminate`."""
        if not self._ready.wait(timeout):
            raise multiprocessing.TimeoutError(f"it has not ended within {timeout:g} s")
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value

    def _ended(self, future: Future) -> None:
        """Runs in the thread that brings results."""
        error = error_of(future)
        with self._lock:
            self._error = self._error or error
            self._left -= 1
            if self._left:
                return
        futures, self._futures = self._futures, ()  # the values are kept once
        if self._error is None:
            self._value = self._make([each.result() for each in futures])
        call: Callable[[Any], object] | None = self._callback if self._error is None else self._error_callback
        if call is not None:
            try:
                call(self._value if self._error is None else self._error)
            except Exception:
                log.exception("a callback of a pool raised an exception")
        self._pool = None
        self._ready.set()


class IMapIterator(Generic[T]):
    """The values in the order of the items (or, `unordered`, in that in which calls end), as they come.

    What a call raises is raised in its place, and the iterator goes on after it.
    """

    def __init__(self, pool: object, unordered: bool) -> None:
        """`pool` is kept until it has ended."""
        self._pool: object = pool
        self._unordered = unordered
        self._changed = threading.Condition()
        self._came: deque[tuple[Sequence[Any], BaseException | None]] = deque()
        """What may be given next: the values of a chunk, or an error."""
        self._early: dict[int, tuple[Sequence[Any], BaseException | None]] = {}
        self._next = 0
        """The chunk that comes next, or how many have come."""
        self._length: int | None = None
        self._values: deque[Any] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """The next value. Raises multiprocessing.TimeoutError if it does not come within so many seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._values:
            values, error = self._chunk(end)
            if error is not None:
                raise error
            self._values.extend(values)
        value: T = self._values.popleft()
        return value

    def _chunk(self, end: float | None) -> tuple[Sequence[Any], BaseException | None]:
        with self._changed:
            while not self._came:
                if self._next == self._length:
                    self._pool = None
                    raise StopIteration
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise multiprocessing.TimeoutError("the next value has not come in time")
                self._changed.wait(left)
            return self._came.popleft()

    # --- other threads

    def follow(self, place: int, future: Future) -> None:
        """Give what this future gives as the chunk of this place."""
        future.add_done_callback(lambda done: self._put(place, done))

    def fail(self, place: int, error: BaseException) -> None:
        """Raise this in this place, which is the last one."""
        self._add(place, (), error)
        self.finish(place + 1)

    def finish(self, length: int) -> None:
        """There are so many chunks."""
        with self._changed:
            self._length = length
            self._changed.notify_all()

    def _put(self, place: int, future: Future) -> None:
        error = error_of(future)
        self._add(place, () if error is not None else future.result(), error)

    def _add(self, place: int, values: Sequence[Any], error: BaseException | None) -> None:
        with self._changed:
            if self._unordered:
                self._came.append((values, error))
                self._next += 1
            else:
                self._early[place] = values, error
                while (found := self._early.pop(self._next, None)) is not None:
                    self._came.append(found)
                    self._next += 1
            self._changed.notify_all()
