"""Supervisor: the parent of worker processes. It starts them, sees them die, and hands their jobs back at once.

It imports no app and keeps no connection, so that nothing a task does can bring it down. TERM or INT: all finish what runs,
within the grace; a second one: they hand back and exit. HUP: each worker is replaced by a new one, or as TERM if the tty
was closed. USR1: all write their stacks. Signals go to workers by a pipe: one to the whole process group counts once.
"""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from longboat.core.job import Failure
from longboat.core.reasons import WORKER_DIED
from longboat.core.signals import shield
from longboat.executors.timed_calls import TimedCall
from longboat.worker import channel
from longboat.worker.channel import Channel
from longboat.worker.notify import READY, STOPPING, WATCHDOG, notify
from longboat.worker.say import flush, say
from longboat.worker.scaler import Load, Scaler, heard
from longboat.worker.terminal import Terminal

EXIT_APP = 3
EXIT_BROKER = 4
EXIT_FAILED = 70
"""A worker process one of whose threads ended by an error."""
EXIT_REFUSED = 71
"""A worker process that its broker refused: who had none that worked ends with EXIT_APP."""
EXIT_RECYCLE = 75
"""A worker process that wants to be replaced: it has run its number of jobs, has grown too large, or is worn."""

LAST_CHANCE = 5.0
"""Seconds beyond its grace until a worker process that should have left is killed."""
WORN_MOST = 2
"""Worn processes for each worker process, at most, that finish what they run however long it takes."""
SETTLED_AFTER = 5.0
"""A worker process that lived for so many seconds is restarted without a pause."""
LONGEST_PAUSE = 10.0

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)

Main = Callable[[Channel], int]
"""What runs in a worker process; returns its exit status."""
Evict = Callable[[str, str, Failure, TimedCall | None], None]
"""(broker URL, consumer id, failure, the call to blame): runs in a process of its own."""


class _Process:
    """A worker process as its parent sees it."""

    def __init__(self, pid: int, end: Channel) -> None:
        self.pid = pid
        self.channel = end
        self.born = time.monotonic()
        self.heard: float | None = None
        self.broker = ""
        self.consumers: list[str] = []
        self.done = False
        self.kill_at: float | None = None
        self.why = ""
        """Why the supervisor is to kill it, if it is."""
        self.overrun: TimedCall | None = None
        """The call that is to blame, if it is known."""
        self.killed = False
        """It has."""
        self.failure = ""
        """Why it said that it failed, if it did."""
        self.load: Load | None = None
        self.retiring = False
        self.worn: float | None = None
        """Since when it finishes what it runs beside a call that cannot be ended."""
        self.commanded = False
        """Somebody told it to stop, and not through the supervisor."""


class Supervisor:
    """Runs `workers` processes until they are done; `run` belongs to the main thread of a process without other threads.

    `grace` and `silence` are seconds: how long running jobs may finish, and how long a worker may go without a sign of
    life before it is killed (its lease is over by then). With a `scaler` their number follows the load.
    """

    def __init__(
        self,
        main: Main,
        evict: Evict,
        *,
        workers: int,
        grace: float,
        silence: float,
        scaler: Scaler | None = None,
    ) -> None:
        self._main = main
        self._evict = evict
        self._scaler = scaler
        self._workers = workers
        self._grace = grace
        self._silence = silence
        self._processes: dict[int, _Process] = {}
        self._evicting: set[int] = set()
        self._starts: list[float] = []
        """When to start further workers (monotonic)."""
        self._pause = 0.0
        self._stopping = 0
        self._status = 0
        self._came_up = False
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._terminal = Terminal()

    def run(self) -> int:
        """Returns the exit status: 0, or that of workers that cannot start (EXIT_APP, EXIT_BROKER)."""
        with self._handling() as wakeup:
            self._selector.register(wakeup, selectors.EVENT_READ)
            self._starts = [0.0] * self._workers
            while self._processes or self._evicting or (self._starts and not self._stopping):
                notify(WATCHDOG)
                self._start_due()
                self._wait(wakeup)
                self._handle_signals()
                self._reap()
                self._kill_due()
                self._scale()
        return self._status

    # --- starting

    def _start_due(self) -> None:
        now = time.monotonic()
        due = [at for at in self._starts if at <= now] if not self._stopping else []
        self._starts = [at for at in self._starts if at > now]
        for _ in due:
            self._start()

    def _start(self) -> None:
        ours, theirs = channel.pair()
        pid = _fork(lambda: self._be_worker(ours, theirs))
        theirs.close()
        os.set_blocking(ours.read, False)
        process = _Process(pid, ours)
        self._processes[pid] = process
        self._selector.register(ours.read, selectors.EVENT_READ, process)

    def _be_worker(self, ours: Channel, theirs: Channel) -> int:
        self._selector.close()
        ours.close()
        for other in self._processes.values():
            other.channel.close()  # else its worker would not notice the supervisor's end
        shield(signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # they are for the supervisor, which tells us
        status = self._main(theirs)
        theirs.send(channel.BYE)
        return status

    def _scale(self) -> None:
        if self._scaler is None or self._stopping:
            return
        working = self._working()
        loads = [process.load for process in working if process.load is not None]
        running = len(working) + len(self._starts)
        wanted = self._scaler.wanted(time.monotonic(), loads, running)
        if wanted > running:
            self._say_scaled(running, wanted)
            self._starts += [0.0] * (wanted - running)
        elif wanted < running and working:
            self._say_scaled(running, wanted)
            leaving = max(working, key=lambda process: process.born)
            leaving.retiring = True
            leaving.channel.send(channel.RETIRE)

    def _working(self) -> list[_Process]:
        return [process for process in self._processes.values() if not (process.retiring or process.commanded)]

    @staticmethod
    def _say_scaled(before: int, after: int) -> None:
        say(f"longboat: {before} -> {after} worker processes")

    # --- listening

    def _wait(self, wakeup: int) -> None:
        now = time.monotonic()
        moments = [*self._starts, *(p.kill_at for p in self._processes.values() if p.kill_at is not None)]
        timeout = min([1.0, *(max(0.0, at - now) for at in moments)])
        ready = self._selector.select(timeout)
        self._forgive(time.monotonic() - now - timeout)
        for key, _ in ready:
            if key.fd == wakeup:
                os.read(wakeup, 4096)
            else:
                self._hear(key.data)

    def _forgive(self, overslept: float) -> None:
        """If this process stood still for so many seconds (stopped, a paused container), so did its workers."""
        if overslept > 1.0:
            for process in self._processes.values():
                process.heard = process.heard and process.heard + overslept

    def _hear(self, process: _Process) -> bool:
        """Whether it has said anything."""
        told = process.channel.poll()
        if told is None:
            self._selector.unregister(process.channel.read)
            return False
        process.heard = time.monotonic()
        for word, text in told:
            if word == channel.CONSUMER:
                process.consumers.append(text)
            elif word == channel.BROKER:
                process.broker = text
                if not self._came_up:
                    notify(READY)
                self._came_up = True
            elif word == channel.LOAD:
                process.load = heard(text)
            else:
                self._hear_of_its_end(process, word, text)
        return bool(told)

    def _hear_of_its_end(self, process: _Process, word: str, text: str) -> None:
        if word == channel.BYE:
            process.done = True
        elif word == channel.LEAVING:
            process.commanded = True
            self._expect_end(process, self._grace)
            if self._scaler is not None:
                self._scaler.one_less(len(self._working()) + len(self._starts))
        elif word == channel.WORN and not (process.retiring or self._stopping):
            process.retiring, process.worn = True, time.monotonic()
            self._starts.append(0.0)
            self._bound_worn()
        elif word == channel.FAILED:
            process.failure = text
            self._expect_end(process, self._grace)

    def _bound_worn(self) -> None:
        """Have the oldest ones leave within the grace, if there are too many: each keeps its memory and connections."""
        worn = [process for process in self._processes.values() if process.worn is not None and process.kill_at is None]
        most = WORN_MOST * max(1, len(self._working()) + len(self._starts))
        for process in sorted(worn, key=lambda each: each.worn or 0.0)[: max(0, len(worn) - most)]:
            say(
                f"longboat: {len(worn)} replaced worker processes still run jobs; {process.pid} has {self._grace:g} s to end"
            )
            self._ask_to_stop(process, now=False)

    def _handle_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in map(self._terminal.meant, signals):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stopping += 1
                notify(STOPPING)
                for process in self._processes.values():
                    self._ask_to_stop(process, now=self._stopping > 1)
            elif number == signal.SIGHUP and not self._stopping:
                for process in self._processes.values():
                    self._ask_to_stop(process, now=False)
            elif number == signal.SIGUSR1:
                for pid in self._processes:
                    os.kill(pid, signal.SIGUSR1)

    def _ask_to_stop(self, process: _Process, *, now: bool) -> None:
        process.channel.send(channel.NOW if now else channel.STOP)
        self._expect_end(process, 0.0 if now else self._grace)

    @staticmethod
    def _expect_end(process: _Process, grace: float) -> None:
        process.kill_at = time.monotonic() + grace + LAST_CHANCE
        process.why = "it did not leave when it was asked to"

    # --- ends

    def _kill_due(self) -> None:
        now = time.monotonic()
        for process in self._processes.values():
            silent = process.heard is not None and now - process.heard > self._silence
            if silent and not process.why:
                process.why = f"it gave no sign of life for {self._silence:g} s"
                process.overrun = process.channel.timed.overrun(process.pid)
                if process.overrun is not None:
                    process.why += f": job {process.overrun.job} held the interpreter's lock beyond its time limit"
            if silent or (process.kill_at is not None and now >= process.kill_at):
                process.killed = True
                os.kill(process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._evicting.discard(pid)
            process = self._processes.get(pid)
            if process is not None:
                self._hear_last_words(process)
                del self._processes[pid]
                self._ended(process, os.waitstatus_to_exitcode(status))

    def _hear_last_words(self, process: _Process) -> None:
        registered = self._selector.get_map()
        while process.channel.read in registered and self._hear(process):
            pass
        if process.channel.read in registered:
            self._selector.unregister(process.channel.read)
        process.channel.close()

    def _ended(self, process: _Process, code: int) -> None:
        """Start another one, unless that is of no use or nobody wants it: after a burst, for instance.

        The exit status counts only if the process said that it was done: a task can exit with any.
        """
        over = process.done and code == 0 and process.kill_at is None
        if not process.done or code not in (0, EXIT_APP, EXIT_BROKER, EXIT_REFUSED, EXIT_RECYCLE):
            self._hand_back(process, code)
        elif code == EXIT_APP or (code in (EXIT_BROKER, EXIT_REFUSED) and not self._came_up):
            self._status = EXIT_APP if code == EXIT_REFUSED else code
            self._stop_all()
            return
        if self._stopping or over or process.retiring or process.commanded:
            return
        lived = time.monotonic() - process.born
        if (process.done and code in (0, EXIT_RECYCLE)) or lived > SETTLED_AFTER:
            self._pause = 0.0
        else:
            self._pause = min(LONGEST_PAUSE, self._pause * 2 or 0.1)
        self._starts.append(time.monotonic() + self._pause)

    def _stop_all(self) -> None:
        self._stopping += 1
        for process in self._processes.values():
            self._ask_to_stop(process, now=False)

    def _hand_back(self, process: _Process, code: int) -> None:
        by_us = process.killed and code == -signal.SIGKILL
        why = process.failure or (process.why if by_us else "")
        reason = ("was killed by its supervisor" if by_us else _death(code)) + (f", because {why}" if why else "")
        say(f"longboat: worker process {process.pid} {reason}; its jobs are handed back", level=logging.ERROR)
        for consumer in process.consumers:
            failure = Failure(WORKER_DIED, f"its worker process {reason}")
            failure.worker, failure.at = f"pid {process.pid}", time.time()
            self._evicting.add(_fork(partial(self._evict, process.broker, consumer, failure, process.overrun)))

    @contextmanager
    def _handling(self) -> Iterator[int]:
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = {number: signal.signal(number, lambda each, _: self._signals.append(each)) for number in HANDLED}
        old = signal.set_wakeup_fd(write)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(read)
            os.close(write)


def _fork(work: Callable[[], int | None]) -> int:
    """Run `work` in a child process, which exits with what it returns, or 0. Returns the child's pid."""
    flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        code = work() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        say(traceback.format_exc().rstrip(), level=logging.ERROR)
    finally:
        try:
            atexit._run_exitfuncs()  # os._exit does not, and multiprocessing removes its temporary folder by one
            flush()
        finally:
            os._exit(code)


def _death(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "?"
    hint = " (the system kills by it when memory runs out)" if -code == signal.SIGKILL else ""
    return f"was killed by signal {-code} ({name}){hint}"
