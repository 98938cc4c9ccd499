"""ThreadExecutor: plain functions in long-lived threads that are fed by one queue."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import Context
from queue import SimpleQueue
from time import monotonic

from longboat.executors import invoke
from longboat.executors.contract import Call, Callback, CallEnd, Reply
from longboat.executors.ledger import Ledger
from longboat.tasks.current import JobChannel, Running, running
from longboat.tasks.depends import Resources


class ThreadExecutor:
    """Runs functions in up to `slots` daemon threads, started as they are needed. Replies come from those threads,
    or from whoever stops, kills or closes."""

    def __init__(
        self, slots: int, done: Callback, job_channel: JobChannel | None = None, resources: Resources | None = None
    ) -> None:
        self.slots = slots
        self.worn = False
        self._job_channel = job_channel
        self._resources = resources or Resources()
        self._ledger = Ledger(slots, done)
        self._queue: SimpleQueue[Call | None] = SimpleQueue()
        # Who takes a call out of one of these makes its reply. Their single operations need no lock.
        self._waiting: set[Call] = set()
        self._running: dict[Call, threading.Thread] = {}
        self._threads: set[threading.Thread] = set()
        """Without the abandoned ones."""

    def free(self) -> int:
        return self._ledger.free()

    def submit(self, calls: Sequence[Call]) -> None:
        with self._ledger.lock:
            taken = self._ledger.admit(calls)
            if taken:
                self._waiting.update(calls)
                for call in calls:
                    self._queue.put(call)
                wanted = min(self.slots, self.slots - self._ledger.free())
                for _ in range(wanted - len(self._threads)):
                    self._add_thread()
        if not taken:
            self._ledger.turn_away(calls)

    def stop(self, call: Call, why: CallEnd) -> None:
        if call.stopping is None:
            call.stopping = why
        if _take(self._waiting, call):
            self._ledger.reply(call, invoke.stopped(call))
        elif isinstance(call.handle, Running):
            call.handle.stopping = True

    def kill(self, call: Call) -> None:
        if _take(self._waiting, call):
            self._ledger.reply(call, invoke.stopped(call))
        elif (thread := self._running.pop(call, None)) is not None:
            self.worn = True
            with self._ledger.lock:
                self._threads.discard(thread)
                if not self._ledger.closed:
                    self._add_thread()
            self._ledger.reply(
                call, invoke.stopped(call, "; it did not end when it was asked to, and its thread was abandoned")
            )

    def close(self, grace: float) -> None:
        self._ledger.shut(grace)
        for call in tuple(self._waiting):
            if _take(self._waiting, call):
                self._ledger.turn_away([call])
        if not self._ledger.wait():
            for call in tuple(self._running):
                self.stop(call, CallEnd.UNSTARTED)
                self.kill(call)
            self._ledger.wait(float("inf"))
        with self._ledger.lock:
            threads = tuple(self._threads)
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"longboat-thread-{len(self._threads) + 1}", daemon=True)
        self._threads.add(thread)
        thread.start()

    # --- in the threads

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            call = self._queue.get()
            if call is None:
                return
            self._running[call] = me
            if not _take(self._waiting, call):
                del self._running[call]  # stopped or handed back before it began
                continue
            reply = Context().run(_run, call, self._job_channel, self._resources)
            if self._running.pop(call, None) is None:
                return  # abandoned: it has replied, and another thread has this one's place
            self._ledger.reply(call, invoke.told(call, reply))
            del call, reply


def _run(call: Call, job_channel: JobChannel | None, resources: Resources) -> Reply:
    lease, task, job = call.lease, call.task, call.lease.job
    call.handle = here = Running(job.id, job.task, job.queue, lease.attempt, job_channel, job.headers)
    here.stopping = call.stopping is not None
    running.set(here)
    try:
        args, kwargs = task.arguments.decode(lease.job.payload)
    except BaseException as error:  # a model's validators are anybody's code
        return invoke.refused(error)
    call.started = monotonic()
    try:
        if task.needs:
            kwargs.update(resources.get(task.needs))
        value = task.body(*args, **kwargs)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the attempt's failure too
        return invoke.raised(task, error)
    return invoke.returned(task, value)


def _take(calls: set[Call], call: Call) -> bool:
    try:
        calls.remove(call)
    except KeyError:
        return False
    return True
