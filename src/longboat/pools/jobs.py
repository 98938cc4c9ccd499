"""Jobs: the calls of one executor or pool that have not ended, their futures, and their end. It knows neither of the two."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread  # first: its own last act would come before what is registered below
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from longboat.errors import JobCancelled
from longboat.pools.future import JobFuture, cancel
from longboat.pools.routes import Route, Sent
from longboat.pools.way import Call

T = TypeVar("T")

Pick = Callable[[list[Any]], Any]
"""What a future's value is, made of what its calls returned."""


class Jobs:
    """Safe to use from any thread."""

    def __init__(self, route: Route, *, own: bool, patient: bool = True) -> None:
        """`own`: it ends with the program. `patient`: then its calls end first."""
        self.route = route
        self.own = own
        self.patient = patient
        self.broken: Exception | None = None
        """Why no call will end any more."""
        self._pid = os.getpid()
        self._lock = threading.RLock()  # the end of an executor that is dropped may come anywhere
        self._over = ""
        """Why no more are taken."""
        self._killed = False
        self._begun = 0
        """Calls of `begin` without their `finish`."""
        self._sending = 0
        self._pending: set[JobFuture[Any]] = set()
        self._idle = threading.Condition(self._lock)
        self._closer: threading.Thread | None = None
        if own:
            _open.add(self)

    def add(self, fn: Callable[..., Any], chunks: Sequence[Sequence[Call]], pick: Pick) -> list[JobFuture[Any]]:
        """A future for each chunk, which is a job by now. Raises RuntimeError once no more are taken."""
        self.begin()
        try:
            return self.add_begun(fn, chunks, pick)
        finally:
            self.finish()

    def begin(self) -> None:
        """More calls come until `finish` is called, whatever happens meanwhile, unless it is killed."""
        if self.own and self._pid != os.getpid():
            raise RuntimeError("an executor without an app belongs to the process that made it: make another one here")
        with self._lock:
            if self.broken is not None:
                raise self.broken
            if self._over:
                raise RuntimeError(self._over)
            self._begun += 1

    def finish(self) -> None:
        with self._lock:
            self._begun -= 1
            self._idle.notify_all()

    def add_begun(self, fn: Callable[..., Any], chunks: Sequence[Sequence[Call]], pick: Pick) -> list[JobFuture[Any]]:
        """As `add`, between `begin` and `finish`."""
        with self._lock:
            if self._killed:
                raise RuntimeError(self._over)
            self._sending += 1
        futures: list[JobFuture[Any]] = []
        client = self.route.app.client

        def expect(some: Sequence[Sent]) -> Callable[[], None]:
            made: list[JobFuture[Any]] = [JobFuture(client, sent.handle.id) for sent in some]
            futures.extend(made)
            with self._lock:
                self._pending.update(made)
            return self._listen(made, some, pick)

        try:
            self.route.send(fn, chunks, expect)
        finally:
            with self._lock:
                self._sending -= 1
                self._idle.notify_all()
        if self.broken is not None:
            self.fail(self.broken)
        return futures

    def _listen(self, futures: Sequence[JobFuture[Any]], some: Sequence[Sent], pick: Pick) -> Callable[[], None]:
        """Returns what ends it."""
        waiting: dict[str, list[tuple[JobFuture[Any], Sent]]] = {}  # calls of one unique key share a job
        for future, sent in zip(futures, some, strict=True):
            future.add_done_callback(self._forget)
            if sent.drop is not None:
                future.add_done_callback(lambda _, drop=sent.drop: drop())  # type: ignore[misc]  # its default is its argument
            waiting.setdefault(future.id, []).append((future, sent))

        def arrived(id: str) -> None:
            _this_thread.settles = True
            for future, sent in waiting.pop(id, ()):
                self._settle(future, sent, pick)
            _this_thread.settles = False

        try:
            end = self.route.app.client.subscribe([sent.handle for sent in some], arrived)
        except BaseException:  # closed meanwhile, or a task that keeps no result
            self._forget(*futures)
            raise

        def undo() -> None:
            end()
            self._forget(*futures)

        return undo

    def _settle(self, future: JobFuture[Any], sent: Sent, pick: Pick) -> None:
        """The job has ended. Runs in the thread that brings results: nothing may be raised there."""
        try:
            found, error = pick(sent.values()), None
        except JobCancelled:
            future.drop()
            return
        except BaseException as caught:
            found, error = None, caught
        if isinstance(error, concurrent.futures.BrokenExecutor):
            self.fail(error)
        elif future.begin():
            if error is None:
                future.set_result(found)
            else:
                future.set_exception(error)

    def _forget(self, *futures: concurrent.futures.Future[Any]) -> None:
        with self._lock:
            self._pending.difference_update(futures)
            if not self._pending:
                self._idle.notify_all()

    def fail(self, error: Exception) -> None:
        """Whatever has not ended will not."""
        with self._lock:
            self.broken = error
            pending = list(self._pending)
        for future in pending:
            if future.begin():
                future.set_exception(error)

    # --- the end

    @property
    def over(self) -> bool:
        """Whether no more are taken."""
        return bool(self._over)

    def end(self, wait: bool, cancel_futures: bool, why: str = "cannot schedule new futures after shutdown") -> None:
        """Take no more calls, and end once the last one has."""
        if self._pid != os.getpid():
            return  # in a forked process: it is the parent's
        with self._lock:
            self._over = self._over or why
            if self._closer is None:
                self._closer = threading.Thread(target=self._close, name="longboat-pool-end", daemon=True)
                self._closer.start()
            while cancel_futures and self._sending:
                self._idle.wait()
            pending = list(self._pending)
        if cancel_futures:
            cancel(pending)
        if wait and not getattr(_this_thread, "settles", False):  # a callback would wait for itself
            self._closer.join()

    def kill(self) -> None:
        """End now: whatever has not ended is stopped, and its futures are cancelled. `end` waits for that."""
        with self._lock:
            self._killed = True
            self._idle.notify_all()
        self.end(wait=False, cancel_futures=False)

    def _close(self) -> None:
        with self._lock:
            while self._sending or (not self._killed and (self._pending or self._begun)):
                self._idle.wait()
            left = list(self._pending)
        for future in left:
            future.drop()
        if left:
            self.route.kill([future.id for future in left])
        self.route.end()
        _open.discard(self)


_this_thread = threading.local()
"""`settles`: it is the one that brings results now, and calls what waits for them."""


# --- the end of the program

_open: set[Jobs] = set()
"""Of the executors without an app that have not ended. Jobs of an app go on without this program."""


def _end_all() -> None:
    for jobs in tuple(_open):
        if not jobs.patient:
            jobs.kill()
        jobs.end(wait=True, cancel_futures=False, why="cannot schedule new futures after interpreter shutdown")


os.register_at_fork(after_in_child=_open.clear)
# As CPython's executors do: what atexit offers comes too late, when threads can start no others.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # typeshed leaves it out
