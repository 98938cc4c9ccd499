"""What must hold after every fault: no job lost, nothing stuck, and no extra run without a reason that is on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from longboat import Longboat
from longboat.core.job import State
from longboat.core.views import JobView

SETTLING = 0.5
"""Seconds that may pass from a task's end until the broker knows of it."""


class Run(NamedTuple):
    """One run of a job, as the task itself wrote it down. Times are monotonic seconds."""

    id: str
    pid: int
    attempt: int
    started: float
    ended: float | None


class Checker:
    """Fed with the ids that were acknowledged, and told of each kill."""

    def __init__(self, app: Longboat, log: Path) -> None:
        self._app = app
        self._log = log
        self.acknowledged: list[str] = []
        self.killed: set[int] = set()
        """Pids of processes that were killed while their supervisor lived on."""
        self._in_flight: list[set[str]] = []

    def note_kill(self) -> int:
        """Everything was killed: what is leased now was in flight. Call it before anything is started again.

        Returns how many jobs that were.
        """
        self._in_flight.append({view.id for view in self._all(State.RUNNING)})
        return len(self._in_flight[-1])

    def all_over(self) -> bool:
        counts = self._app.broker.inspector.counts()
        return not any(n for (_, state), n in counts.items() if not state.ended)

    def runs(self) -> dict[str, list[Run]]:
        """By job id, in order."""
        open_runs: dict[tuple[str, int, int], tuple[float, int]] = {}
        found: defaultdict[str, list[Run]] = defaultdict(list)
        for line in self._log.read_text().splitlines():
            event, job_id, pid, attempt, at = line.split()
            key = job_id, int(pid), int(attempt)
            if event == "start":
                open_runs[key] = int(at) / 1e9, len(found[job_id])
                found[job_id].append(Run(*key, int(at) / 1e9, None))
            else:
                started, place = open_runs.pop(key)
                found[job_id][place] = Run(*key, started, int(at) / 1e9)
        return dict(found)

    def views(self, ids: Collection[str]) -> dict[str, JobView]:
        """Every one of these; it is an error if one is unknown."""
        views = self._app.broker.inspector.find(list(ids))
        lost = [job_id for job_id, view in zip(ids, views, strict=True) if view is None]
        assert not lost, f"{len(lost)} acknowledged jobs are lost: {lost[:5]}"
        return {view.id: view for view in views if view is not None}

    def sound(self, *, dead: Collection[str] = (), handed_back: Collection[str] = ()) -> None:
        """Every acknowledged job has ended, those of `dead` dead and all others with success, and no run is unexplained.

        `handed_back`: those that a worker gave back when it left, and may have begun twice.
        """
        assert self.all_over(), self._app.broker.inspector.counts()
        views, runs = self.views(self.acknowledged), self.runs()
        last: dict[int, float] = {}
        for run in (run for each in runs.values() for run in each):
            last[run.pid] = max(last.get(run.pid, 0.0), run.started, run.ended or 0.0)
        for job_id, view in views.items():
            wanted = State.DEAD if job_id in dead else State.SUCCEEDED
            assert view.state is wanted, f"{job_id} of {view.task} is {view.state}: {view.failures}"
            mine = runs.get(job_id, [])
            assert wanted is State.DEAD or any(run.ended for run in mine), f"{job_id} never ran to its end"
            extra = [] if job_id in handed_back else [run for run in mine[:-1] if not self._explained(run, view, last)]
            free = sum(job_id in kill for kill in self._in_flight)
            assert len(extra) <= free, f"{job_id} ran without need: {mine}, its failures: {view.failures}"
        assert runs.keys() <= views.keys(), "jobs ran that nobody enqueued"

    def all_succeeded(self) -> None:
        """As `sound`, where answers of the broker may have been lost: at least once, then, and any number of times."""
        assert self.all_over(), self._app.broker.inspector.counts()
        views, runs = self.views(self.acknowledged), self.runs()
        wrong = [view for view in views.values() if view.state is not State.SUCCEEDED]
        assert not wrong, wrong[:3]
        idle = [job_id for job_id in views if not any(run.ended for run in runs.get(job_id, []))]
        assert not idle, f"{len(idle)} jobs never ran to their ends: {idle[:5]}"
        assert runs.keys() <= views.keys(), "jobs ran that nobody enqueued"

    def _explained(self, run: Run, view: JobView, last: Mapping[int, float]) -> bool:
        """Whether there is a reason that this run was not the last one. `last`: when each process was last heard of."""
        if any(failure.attempt == run.attempt for failure in view.failures):
            return True
        return run.pid in self.killed and (run.ended is None or run.ended > last[run.pid] - SETTLING)

    def _all(self, state: State) -> list[JobView]:
        found: list[JobView] = []
        after: str | None = None
        while True:
            page = self._app.broker.inspector.jobs(state, after=after, limit=1000)
            found += page.jobs
            if page.after is None:
                return found
            after = page.after
