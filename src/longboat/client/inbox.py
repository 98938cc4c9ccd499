"""Inbox: one listener brings the results of all jobs that anybody here waits for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from longboat.contract.base_forks import leave_alone, remake_after_fork
from longboat.contract.broker import Broker
from longboat.contract.results import Listener
from longboat.core.job import Result
from longboat.core.views import JobView
from longboat.errors import AppClosed, BrokerError, BrokerMisconfigured, BrokerUnavailable, JobNotFound

TOGETHER = 500
"""Jobs in one look."""
GATHER = 0.001
"""Seconds between two registrations while more ids come than one at a time."""
AGAIN = 0.25
"""Seconds between two tries to register, for those who wait while the broker is away."""

Told = tuple[str, Result | Exception]
"""A job's id, and its result or why there will be none."""


class Waiter(Protocol):
    """Who waits for jobs. Both are called from any thread, and must not block."""

    def heard(self, job_id: str, what: Result | Exception, /) -> None:
        """Called once for each id: with the result, or with why there will be none."""

    def failed(self, error: Exception, /) -> None:
        """The broker cannot be asked to tell of these jobs: nothing more is heard of some of them."""


class Inbox:
    """Hands results to waiters. Its threads start with the first wait.

    What is waited for is told to the listener in batches: by the thread that waits, for all that wait at that moment, or by
    a thread of the inbox for coroutines. No lock is held meanwhile that `add` or `forget` takes, so these never block.
    """

    def __init__(self, broker: Broker, *, patient: bool = False, address: str = "") -> None:
        """`patient`: one may begin to wait while the broker is away. Otherwise that raises BrokerUnavailable.

        `address`: the broker's, for messages.
        """
        self._broker = broker
        self._patient = patient
        self._address = address
        self._listener: Listener | None = None
        self._closed = False
        self._begin()
        remake_after_fork(self)

    def _begin(self) -> None:
        self._waiters: dict[str, list[Waiter]] = {}
        self._registered: set[str] = set()
        """What the listener has been asked to tell, and has not told."""
        self._changed: dict[str, None] = {}
        """Ids of which `_registered` may not say what `_waiters` does, in order."""
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        """Held while the listener is told what is waited for."""
        self._kick = threading.Event()
        self._over = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def after_fork(self) -> None:
        """In the child: its own listener, and nobody waits yet."""
        leave_alone(self._listener)
        self._listener = None
        self._begin()

    def watch(self, ids: Sequence[str], waiter: Waiter) -> None:
        """Give the results of these jobs to the waiter, also of those that have ended already.

        Returns once the broker has been asked; at once, where one may wait while it is away. If it cannot be, the waiter is
        told.
        """
        self.add(((each, waiter) for each in ids), soon=self._patient)
        if not self._patient:
            self._register_now()

    def add(self, waiting: Iterable[tuple[str, Waiter]], *, soon: bool = True) -> None:
        """As `watch` for each, without blocking: the broker is asked soon. Raises AppClosed."""
        with self._lock:
            if self._closed:
                raise AppClosed("the app was closed before this call waited; the job goes on")
            for job_id, waiter in waiting:
                self._waiters.setdefault(job_id, []).append(waiter)
                if job_id not in self._registered:
                    self._changed[job_id] = None
        if soon:
            self._register_soon()

    def forget(self, ids: Iterable[str], waiter: Waiter, *, soon: bool = True) -> None:
        """The waiter waits for these no longer. `soon`: does not block; otherwise returns once the listener was told."""
        changed = False
        with self._lock:
            for job_id in ids:
                waiters = self._waiters.get(job_id, [])
                if waiter in waiters:
                    waiters.remove(waiter)
                    if not waiters:
                        del self._waiters[job_id]
                        changed = self._leave(job_id) or changed
        if changed and not self._closed:
            if soon:
                self._register_soon()
            else:
                self._register_now()

    def _leave(self, job_id: str) -> bool:
        """Nobody waits for it any more. Whether the listener is to be told. Called with the lock held."""
        if job_id in self._registered:
            self._changed[job_id] = None
            return True
        self._changed.pop(job_id, None)
        return False

    def close(self) -> None:
        """End. Those who still wait get AppClosed."""
        with self._lock:
            self._closed = True
            threads = list(self._threads.values())
        self._over.set()
        self._kick.set()
        with self._turn:
            listener = self._listener
        if listener is not None:
            listener.wake()
        for thread in threads:
            thread.join()
        if listener is not None:
            listener.close()
        closed = AppClosed("the app was closed while this call waited; the job goes on")
        self.tell((job_id, closed) for job_id in list(self._waiters))

    def look(self, ids: Sequence[str]) -> list[JobView | None]:
        """Tell the waiters of jobs that the broker does not know; returns what it knows. Raises BrokerError."""
        found: list[JobView | None] = []
        for start in range(0, len(ids), TOGETHER):
            found += self._broker.inspector.find(ids[start : start + TOGETHER])
        missing = [job_id for job_id, view in zip(ids, found, strict=True) if view is None]
        if missing:
            results = self._broker.results.get(missing)
            self.tell(
                (job_id, result or not_found(job_id, self._address)) for job_id, result in zip(missing, results, strict=True)
            )
        return found

    def tell(self, told: Iterable[Told], *, by_listener: bool = False) -> None:
        """Tell those who wait for these jobs. `by_listener`: it told, and has forgotten them."""
        heard: list[tuple[Waiter, str, Result | Exception]] = []
        with self._lock:
            for job_id, what in told:
                heard += [(waiter, job_id, what) for waiter in self._waiters.pop(job_id, ())]
                if by_listener:
                    self._registered.discard(job_id)
                else:
                    self._leave(job_id)
            changed = bool(self._changed) and not by_listener and not self._closed
        for waiter, job_id, what in heard:
            waiter.heard(job_id, what)
        if changed:
            self._register_soon()

    # --- what is waited for

    def _register_soon(self) -> None:
        self._start("longboat-waits", self._run_registering)
        self._kick.set()

    def _register_now(self) -> None:
        with self._turn:
            self._register()

    def _run_registering(self) -> None:
        """Registers for coroutines, which must not wait for the broker."""
        while not self._closed:
            self._kick.wait(AGAIN if self._changed else None)
            self._kick.clear()
            self._register_now()
            if self._kick.is_set():  # more came meanwhile than one: let some gather
                self._over.wait(GATHER)

    def _register(self) -> None:
        """Have the listener know what is waited for by now. Called with the turn, by one thread at a time."""
        with self._lock:
            changed, self._changed = self._changed, {}
            new = [each for each in changed if each in self._waiters and each not in self._registered]
            gone = [each for each in changed if each in self._registered and each not in self._waiters]
            self._registered.update(new)  # before it is so: what is told meanwhile is not registered any more
            self._registered.difference_update(gone)
        if self._closed:
            return
        if new:
            try:
                self._watch(new)
            except BaseException:  # Ctrl-C: the listener may know of some only
                self._register_again(new)
                raise
        if gone and self._listener is not None:
            with contextlib.suppress(BrokerError):  # what it tells nevertheless, nobody waits for
                self._listener.forget(gone)

    def _watch(self, ids: list[str]) -> None:
        try:
            self._listen().watch(ids)
        except Exception as error:
            if len(ids) > 1 and not isinstance(error, BrokerUnavailable):
                for each in ids:  # only those who wait for what it refuses are told
                    self._watch([each])
            else:
                self._not_registered(ids, error)

    def _not_registered(self, ids: Sequence[str], error: Exception) -> None:
        if self._patient and isinstance(error, BrokerUnavailable) and not isinstance(error, BrokerMisconfigured):
            self._register_again(ids)
            return
        with self._lock:
            self._registered.difference_update(ids)
            failed = [waiter for each in ids for waiter in self._waiters.pop(each, ())]
        for waiter in dict.fromkeys(failed):
            waiter.failed(error)

    def _register_again(self, ids: Iterable[str]) -> None:
        """The thread that registers does, for those who wait still: at once, but after a while if it has just tried."""
        with self._lock:
            self._registered.difference_update(ids)
            self._changed.update(dict.fromkeys(each for each in ids if each in self._waiters))
        self._start("longboat-waits", self._run_registering)
        if threading.current_thread() is not self._threads.get("longboat-waits"):
            self._kick.set()

    def _listen(self) -> Listener:
        """Called with the turn."""
        if self._listener is None:
            self._listener = self._broker.results.listen()
        self._start("longboat-inbox", self._run)  # each time: the system may have refused it before
        return self._listener

    def _start(self, name: str, run: Callable[[], None]) -> None:
        if name in self._threads:
            return
        with self._lock:
            if name not in self._threads and not self._closed:
                thread = threading.Thread(target=run, name=name, daemon=True)
                thread.start()  # before `close` can join it, should Ctrl-C strike here
                self._threads[name] = thread

    def _run(self) -> None:
        listener = self._listener
        assert listener is not None
        pause = 0.05
        while not self._closed:
            try:
                ended = listener.wait(1.0 if self._waiters else 30.0)
                self.tell([(result.id, result) for result in ended], by_listener=True)
                pause = 0.05
            except BrokerError:  # down: every caller goes on waiting, within its own time limit
                pause = min(1.0, pause * 2)
                self._over.wait(pause)


def not_found(job_id: str, address: str = "") -> JobNotFound:
    """`address`: the broker's, without its secrets."""
    there = f" at {address}" if address else ""
    return JobNotFound(f"no job {job_id!r}{there}: it was never enqueued here, or it ended and was pruned since")
