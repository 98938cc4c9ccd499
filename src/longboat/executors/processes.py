"""ProcessExecutor: plain functions in child processes, which may be killed one by one and are replaced at once."""

from __future__ import annotations

import atexit
import contextlib
import math
import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import cast

from longboat.core.job import Failure
from longboat.executors import invoke
from longboat.executors.base import Executor, watched
from longboat.executors.child_link import ChildLink
from longboat.executors.contract import Call, CallEnd, Owner, Reply
from longboat.executors.job_channel import JobChannels
from longboat.executors.spawner import Spawner
from longboat.executors.wire import STARTED, Answer, ChildSettings
from longboat.tasks.current import JobChannel

HORIZON = 0.02
"""A call is sent to a busy child only if it is expected to begin within so many seconds."""

DEPTH = 64
"""Calls with one child, at most."""

UNKNOWN_COST = 1.0
"""Seconds that a task is expected to take before it has ended once: nothing is sent behind it."""

PARTING = 5.0
"""Seconds that a child gets to exit once it has said that it will."""

LAST_SECONDS = 1.0
"""Seconds that idle children get to exit when the executor is closed."""

HANGING_UP = 0.5
"""Seconds between the end of a child's socket and that of its process, at most."""

NO_CHILD = "longboat.NoChild"


class ProcessExecutor(Executor):
    """Runs functions in `slots` child processes, one call at a time in each; all are started at the first submit.

    One thread owns the children: it hands out
    calls, takes replies, and replaces children that die. It ends once the executor is closed and all have replied.
    Replies come from it, or from whoever calls submit. Not to be closed from within `done`.
    """

    def __init__(
        self,
        slots: int,
        owner: Owner,
        settings: ChildSettings | None = None,
        job_channel: JobChannel | None = None,
    ) -> None:
        super().__init__(slots, owner)
        self._job_channels = None if job_channel is None else JobChannels(job_channel, owner)
        self._spawner = Spawner(settings or ChildSettings(), self._job_channels)
        self._thread = watched("processes", self._run, owner.failed)
        self._commands: deque[Callable[[], object]] = deque()
        self._bell, self._button = socket.socketpair()
        self._rung = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell, selectors.EVENT_READ, (self._on_bell, None))
        self._queue: deque[Call] = deque()
        self._links: list[ChildLink] = []
        """The children that take calls, or will."""
        self._parting: dict[ChildLink, float] = {}
        """Those that are about to exit, and when they are killed if they have not."""
        self._costs: dict[str, float] = {}
        """Seconds a call of each task takes: a moving mean."""

    # --- any thread

    def free(self) -> int:
        """None while no child can be made: the thread goes on trying."""
        free = super().free()
        return min(0, free) if self._spawner.impossible and self._thread.ident and not self._links else free

    def hand_back(self, keep: int) -> None:
        self._post(self._hand_back, keep)

    def close(self, grace: float) -> None:
        self.shut(grace)
        if self._thread.ident is not None:
            self._post(self._recall_all)
            if not self.wait():
                self._post(self._kill_all)
            self._thread.join()
            atexit.unregister(self.close)
        with self.lock:
            job_channels, self._job_channels = self._job_channels, None
            self._selector.close()
            self._bell.close()
            self._button.close()
        if job_channels is not None:
            job_channels.close()

    def _begin(self, calls: Sequence[Call]) -> None:
        self._post(self._queue.extend, tuple(calls))
        if self._thread.ident is None:
            atexit.register(self.close, 0.0)  # runs before multiprocessing's own, which waits for children
            self._thread.start()

    def stack(self, call: Call) -> str:
        link, seq = call.handle or (None, 0)
        return link.stack() if link is not None and link.running(seq) else ""

    def _ask_to_stop(self, call: Call) -> None:
        self._post(self._stop, call)

    def _cut_off(self, call: Call) -> None:
        self._post(self._kill, call)

    def _post(self, command: Callable[..., object], *args: object) -> None:
        """Have the thread do this."""
        self._commands.append(partial(command, *args))
        if not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):  # closed: no call is in hand that this could concern
                self._button.send(b"!")

    # --- what is posted

    def _stop(self, call: Call) -> None:
        if (found := self._reach(call)) is not None:
            link, seq = found
            link.stop(seq)

    def _kill(self, call: Call) -> None:
        if (found := self._reach(call)) is None:
            return
        link, seq = found
        self._receive(link)  # perhaps it has just ended, and its child may live
        if link.running(seq):
            call.stopping = call.stopping or CallEnd.CANCELLED
            asked = (
                f"it was still running {monotonic() - link.asked:.3g} s after it was asked to stop, and "
                if link.asked
                else ""
            )
            link.kill(f"{asked}its process was killed")

    def _hand_back(self, keep: int) -> None:
        for link in self._links:
            if len(link.calls) > 1:
                self._take_back(link.recall())
        keep += self.slots - sum(bool(link.calls) for link in self._links)  # the children may not be there yet
        self.turn_away([self._queue.pop() for _ in range(len(self._queue) - keep)])

    def _recall_all(self) -> None:
        for link in self._links:
            self._take_back(link.recall())

    def _kill_all(self) -> None:
        for link in (*self._links, *self._parting):
            for call, _ in tuple(link.calls.values()):
                call.stopping = call.stopping or CallEnd.UNSTARTED
            link.kill("its process was killed when the worker closed")

    # --- the thread, and what wakes it

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException:
            self.shut(0.0)
            try:
                self._end_all(0.0)
            finally:
                self.turn_away(tuple(self._open))
            raise
        self._end_all(LAST_SECONDS)

    def _loop(self) -> None:
        while not self.closed or self._open:
            for key, _ in self._selector.select(self._pause()):
                handler, link = key.data
                handler(link)
            self._see_off()
            self._grow()
            self._rebalance()
            self._dispatch()

    def _pause(self) -> float | None:
        """Seconds until something is due even if nothing happens."""
        due = min(self._growth_due(), *self._parting.values(), math.inf)
        if any(link.ready and not link.calls for link in self._links):
            due = min([due, *(link.since + HORIZON for link in self._links if len(link.calls) > 1)])
        return None if due == math.inf else max(0.0, due - monotonic())

    def _on_bell(self, _: None) -> None:
        self._bell.recv(64)
        self._rung = False
        while self._commands:
            self._commands.popleft()()

    def _on_socket(self, link: ChildLink) -> None:
        if not link.hung_up:  # else it was buried a moment ago
            self._flush(link)
            self._receive(link)

    def _on_death(self, link: ChildLink) -> None:
        while self._receive(link):
            pass  # what it has answered counts
        if not link.hung_up:  # a process that the task forked may hold the socket open
            link.hung_up = True
            self._selector.unregister(link.sock)
        self._selector.unregister(link.process.sentinel)
        self._part(link, 0.0)
        del self._parting[link]
        started = link.words[STARTED]
        how = link.bury()
        self._take_back([link.remove(seq) for seq in tuple(link.calls) if seq > started])
        for seq in tuple(link.calls):
            call = link.remove(seq)
            self.reply(call, invoke.killed(call, how))
        if not started:
            self._spawner.died(link, how)
            self._refuse_if_hopeless()

    # --- children

    def _growth_due(self) -> float:
        """When the next child is to be started."""
        if self.closed or len(self._links) >= self.slots:
            return math.inf
        if self._spawner.careful() and not all(link.ready for link in self._links):
            return math.inf
        return self._spawner.due()

    def _grow(self) -> None:
        if self._growth_due() > monotonic():
            return
        link = self._spawner.start()
        if link is None:  # no job's fault
            if not any(each.ready for each in self._links):
                self.turn_away([self._queue.popleft() for _ in range(len(self._queue))])
            return
        self._links.append(link)
        self._selector.register(link.sock, selectors.EVENT_READ, (self._on_socket, link))
        self._selector.register(link.process.sentinel, selectors.EVENT_READ, (self._on_death, link))

    def _refuse_if_hopeless(self) -> None:
        why = self._spawner.hopeless()
        if why and not any(link.ready for link in self._links):
            while self._queue:
                failure = Failure(NO_CHILD, why)
                self.reply(self._queue.popleft(), Reply(CallEnd.REFUSED, failure=failure, again=False))

    def _part(self, link: ChildLink, within: float) -> None:
        """It takes no more calls, and must be gone within so many seconds."""
        if link in self._links:
            self._links.remove(link)
        self._parting[link] = min(self._parting.get(link, math.inf), monotonic() + within)

    def _see_off(self) -> None:
        for link, due in self._parting.items():
            if due <= monotonic():
                self._parting[link] = math.inf
                link.kill("it closed its connection to the worker, and its process was killed")

    def _end_all(self, grace: float) -> None:
        """Have idle children exit, within so many seconds, and kill those that do not."""
        links = [*self._links, *self._parting]
        for link in links:
            with contextlib.suppress(OSError):
                link.sock.shutdown(socket.SHUT_WR)
        due = monotonic() + grace
        for link in links:
            link.process.join(max(0.0, due - monotonic()))
            if link.process.exitcode is None:
                link.kill("")
                link.process.join()
            link.bury()

    # --- calls

    def _dispatch(self) -> None:
        """Hand out what waits: to each child the calls that it can begin within HORIZON."""
        if self.closed:
            self.turn_away(self._queue)
            self._queue.clear()
        now = monotonic()
        while self._queue:
            links = sorted((link for link in self._links if _has_room(link, now)), key=_load)
            if not links:
                return
            share = math.ceil(len(self._queue) / len(links))
            for link in links:
                for _ in range(min(share, len(self._queue))):
                    if not _has_room(link, now):
                        break
                    call = self._queue.popleft()
                    link.add(call, self._costs.get(call.task.name, UNKNOWN_COST))
                self._flush(link)

    def _flush(self, link: ChildLink) -> None:
        before = link.stuck
        link.flush()
        if link.stuck != before:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.stuck else 0)
            self._selector.modify(link.sock, events, (self._on_socket, link))

    def _rebalance(self) -> None:
        """While a child idles, take back calls that wait behind one that takes longer than expected."""
        if any(link.ready and not link.calls for link in self._links):
            for link in self._links:
                if len(link.calls) > 1 and monotonic() - link.since >= HORIZON:
                    self._take_back(link.recall())

    def _take_back(self, calls: list[Call]) -> None:
        """These have not begun: hand them out again before all others."""
        for call in calls:
            call.started = 0.0
        self._queue.extendleft(reversed(calls))

    def _receive(self, link: ChildLink) -> bool:
        """Read what a child has sent; whether there was anything."""
        if link.hung_up:
            return False
        answers = link.read()
        if link.hung_up:
            self._selector.unregister(link.sock)
            self._part(link, HANGING_UP)
        ended = sum(answer.ending not in (None, CallEnd.UNSTARTED) for answer in answers)
        seconds = (monotonic() - link.since) / ended if ended == len(answers) > 0 else None
        first = next(iter(link.calls), 0)
        for answer in answers:
            if answer.seq == 0:
                link.ready = not link.fate
            elif answer.seq not in link.calls:
                pass  # it was recalled, and never began
            elif answer.ending is None:
                link.found(answer.seq)
            elif answer.ending is CallEnd.UNSTARTED:
                self._come_back(link.remove(answer.seq))
            else:
                self._end(link, answer, answer.ending, seconds)
        if first not in link.calls:
            link.begin()
        return bool(answers)

    def _come_back(self, call: Call) -> None:
        """A call was recalled at the moment when it would have begun."""
        call.started = 0.0
        if call.stopping is None:
            self._take_back([call])
        else:
            self.reply(call, invoke.stopped(call))

    def _end(self, link: ChildLink, answer: Answer, ending: CallEnd, seconds: float | None) -> None:
        call = link.remove(answer.seq)
        self._spawner.useful()
        call.started = 0.0 if ending is CallEnd.REFUSED else call.started or link.since
        if seconds is not None:
            known = self._costs.get(call.task.name, seconds)
            self._costs[call.task.name] = known + (seconds - known) * 0.2
        reply = Reply(ending, answer.result, answer.failure, answer.again)
        self.reply(call, invoke.told(call, reply))
        if answer.leaving:
            self._take_back([link.remove(seq) for seq in tuple(link.calls)])
            self._part(link, PARTING)

    def _reach(self, call: Call) -> tuple[ChildLink, int] | None:
        """The child that runs the call, with none behind it, and its seq. A call that has not begun ends here."""
        if call.handle is not None:
            link, seq = call.handle
            if len(link.calls) > 1 or link.words[STARTED] < seq:
                self._take_back(link.recall())
        if call.handle is not None:
            return cast("tuple[ChildLink, int]", call.handle)
        if call in self._queue:
            self._queue.remove(call)
            self.reply(call, invoke.stopped(call))
        return None


def _load(link: ChildLink) -> float:
    return link.load


def _has_room(link: ChildLink, now: float) -> bool:
    if not link.ready or len(link.calls) >= DEPTH:
        return False
    return not link.calls or (link.load < HORIZON and now - link.since < HORIZON)
