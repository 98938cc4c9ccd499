"""Jobs that workers told of, where no job can be looked up: the newest, while a dashboard runs."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import BrokerError, Unsupported
from longboat.observe.events import Event, EventsDropped, JobEvent
from longboat.observe.heard import Heard, hear
from longboat.observe.history import WorkerRecord
from longboat.observe.stream import EventStream

MOST = 20_000
"""Jobs that are kept, the newest."""
EVERY = 0.5
"""Seconds between looks at what was told."""
ROUNDS = 20
"""Polls at one look: each brings a part of what very many workers told."""
LATE = 5.0
"""Seconds after which a worker's record names a job that it runs."""
LISTED = 100
"""Running jobs that a worker's record names, at most."""


class Overheard:
    """A thread. Where jobs can be looked up it ends at once, and knows none."""

    def __init__(self, broker: Callable[[], Broker], workers: Callable[[], Sequence[WorkerRecord]]) -> None:
        self._broker = broker
        self._workers = workers
        self.since: float | None = None
        """Wall-clock time from which on it has listened; None: it does not."""
        self._jobs: OrderedDict[str, Heard] = OrderedDict()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="longboat-overheard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        """What is known of each; None: nothing."""
        with self._lock:
            found = {each: self._jobs[each] for each in ids if each in self._jobs}
        views = {view.id: view for view in self._views(found.values())}
        return [views.get(each) for each in ids]

    def jobs(self, state: State, queue: str | None, task: str | None, limit: int) -> list[JobView]:
        """Those in this state, the newest first."""
        with self._lock:
            found = [*self._jobs.values()]
        views = [
            view
            for view in self._views(found)
            if view.state is state and queue in (None, view.queue) and task in (None, view.task)
        ]
        return sorted(views, key=lambda view: -(view.ended or view.started or view.enqueued or 0.0))[:limit]

    def _views(self, heard: Iterable[Heard]) -> list[JobView]:
        """Those that say they run although no worker does any more are left out: what became of them is not known."""
        records, now = self._workers(), SYSTEM.now()
        running = {job_id for record in records for job_id, _, _ in record.running}
        long = {record.name for record in records if len(record.running) >= LISTED}
        return [
            _view(each)
            for each in heard
            if each.state is not State.RUNNING or each.id in running or each.worker in long or now - each.at < LATE
        ]

    # --- the thread

    def _run(self) -> None:
        events: EventStream | None = None
        while not self._over.is_set():
            try:
                broker = self._broker()
                if Capability.LOOKUP in broker.capabilities:
                    return
                events = events or EventStream.of(broker)
                for _ in range(ROUNDS):
                    if not (some := events.poll()):
                        break
                    self._take(some)
                self.since = self.since or SYSTEM.now()
            except Unsupported:
                return
            except BrokerError:
                logging.getLogger("longboat.dashboard").debug("nothing is heard: the broker does not answer")
            self._over.wait(EVERY)
        if events is not None:
            events.close()

    def _take(self, events: Sequence[Event]) -> None:
        with self._lock:
            for event in events:
                if isinstance(event, EventsDropped):  # those that it had may have ended since; of what runs, records tell
                    self._jobs = OrderedDict(
                        (each, job) for each, job in self._jobs.items() if not _unsure(job, event.worker)
                    )
                elif isinstance(event, JobEvent) and (heard := hear(self._jobs.get(event.id), event)) is not None:
                    self._jobs[event.id] = heard
                    self._jobs.move_to_end(event.id)
            while len(self._jobs) > MOST:
                self._jobs.popitem(last=False)


def _unsure(job: Heard, worker: str) -> bool:
    """Whether what this worker did not tell may be the end of the job."""
    return not job.state.ended and (job.worker in ("", worker) or job.state is not State.RUNNING)


def _view(heard: Heard) -> JobView:
    state, due = heard.state, heard.due
    if state is State.SCHEDULED and due is not None and due <= SYSTEM.now():
        state, due = State.READY, None
    return JobView(
        id=heard.id,
        state=state,
        queue=heard.queue,
        task=heard.task,
        priority=0,
        attempts=heard.attempts,
        payload=b"",
        enqueued=heard.enqueued,
        due=due,
        started=heard.started,
        ended=heard.ended,
        worker=heard.worker if heard.state is State.RUNNING else None,
        failures=heard.failures,
    )
