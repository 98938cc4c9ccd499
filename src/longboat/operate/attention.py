"""Attention: what is stuck or stands still, in one list. Empty when all is well."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from longboat.contract.broker import Broker
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.retry import LONGEST
from longboat.core.text import counted
from longboat.core.views import JobView
from longboat.errors import Unsupported
from longboat.observe.history import GRAINS, WorkerRecord, recent, workers
from longboat.observe.numbers import numbers
from longboat.observe.sketch import Sketch, merge, quantile
from longboat.observe.words import span
from longboat.operate import held, scheduler
from longboat.operate.explain import explain, serving
from longboat.operate.pauses import paused, rules

Kind = Literal["no worker", "paused", "schedule", "running", "retrying", "held"]

USUAL = 86400.0
"""Seconds of the past that tell how long a task usually takes."""
KNOWN = 20
"""Attempts that must have ended in that time to tell it."""
TIMES, MORE = 2.0, 10.0
"""A job runs for too long from so many times its task's p99 on, and so many seconds beyond it: one in a hundred exceeds
the p99 itself."""
LONG = 3600.0
"""Seconds for which a job is held, or runs while nobody knows how long it may take, before that is told."""
RETRIED = 10
"""Failed attempts from which on a job is retried for ever."""
LOOKED_AT, PAGE, SECONDS = 1000, 200, 0.5
"""Jobs of one state that are looked at, in pages of so many, for about so many seconds at most."""
MOST = 20
"""Entries of one kind, at most; another one says how many more there are."""


class Item(msgspec.Struct):
    """Something that somebody should look at."""

    kind: Kind
    what: str
    """One sentence."""
    since: float | None = None
    """Wall-clock time; None: not known."""
    queue: str = ""
    task: str = ""
    schedule: str = ""
    job: str = ""
    """The id of the job, or of the one that began first."""


class Attention(msgspec.Struct):
    """What needs attention, and what cannot be known."""

    items: list[Item] = []
    unknown: list[str] = []
    """Sentences: what this broker cannot tell, and what was not looked at."""


class _Look(msgspec.Struct):
    """What several checks need, looked up once."""

    broker: Broker
    now: float
    workers: list[WorkerRecord]
    unknown: list[str]


def attention(broker: Broker) -> Attention:
    """Look at everything that may be stuck. It costs a bounded number of lookups, however many jobs there are.

    Raises BrokerError.
    """
    found = Attention()
    look = _Look(broker, SYSTEM.now(), [], found.unknown)
    try:
        look.workers = workers(broker.kv)
    except Unsupported as error:
        found.unknown.append(f"workers, pauses and schedules are not known: {error}")
        return found
    for what, check in CHECKS:
        items: list[Item] = []
        try:
            items += check(look)
        except Unsupported as error:
            found.unknown.append(f"{what} is not known: {error}")
        found.items += items[:MOST]
        if len(items) > MOST:
            found.items.append(Item(items[0].kind, f"{len(items) - MOST:,} more of this kind"))
    return found


def _queues(look: _Look) -> Iterator[Item]:
    """Queues with jobs that nobody takes: paused, or without a worker."""
    broker, found = look.broker, numbers(look.broker)
    consumers: list[list[str]] = []
    with contextlib.suppress(Unsupported):  # the workers' own records tell
        consumers = [each.queues for each in broker.inspector.consumers()]
    still = paused(broker.kv)["queue"]
    for queue in sorted(found.queues):
        ready, waiting = found.of(queue, State.READY) or 0, found.of(queue, State.WAITING) or 0
        if queue in still and ready + waiting:
            yield Item("paused", f"queue {queue} is paused and holds {counted(ready + waiting, 'job')}", queue=queue)
        elif ready and queue not in still:
            states = [each.state for each in look.workers if not each.queues or queue in each.queues]
            if states and set(states) == {"quiet"}:
                yield Item(
                    "no worker", f"queue {queue} has {counted(ready, 'ready job')} and {serving(states)}", queue=queue
                )
            elif not states and not any(not queues or queue in queues for queues in consumers):
                yield Item("no worker", f"queue {queue} has {counted(ready, 'ready job')} and no living worker", queue=queue)


def _schedules(look: _Look) -> Iterator[Item]:
    """Schedules that cannot be fired, or that were due and have not been fired."""
    broker, now = look.broker, look.now
    shown = scheduler.listed(broker, now)
    fired = scheduler.last_fired(broker.kv, [each.name for each in shown])
    for each in shown:
        rule = each.schedule
        if rule is not None and rule.paused:
            continue
        since = scheduler.missed(rule, fired[each.name], now) if rule is not None and each.name in fired else None
        late = f"missed its tick {span(now - since)} ago" if since is not None else ""
        if why := ": ".join(filter(None, [late, each.problem])):
            yield Item("schedule", f"schedule {each.name}: {why}", since, schedule=each.name)


class _Run(NamedTuple):
    """A running job."""

    started: float
    job: str
    worker: str


def _running(look: _Look) -> Iterator[Item]:
    """Jobs that run for much longer than their task usually does."""
    runs: dict[str, list[_Run]] = {}
    for record in look.workers:
        for job, task, started in record.running:
            if look.now - started > MORE:
                runs.setdefault(task, []).append(_Run(started, job, record.name))
    usual = _usual(look, runs) if runs else {}
    for task, each in sorted(runs.items()):
        first, p99 = min(each), usual.get(task)
        length = look.now - first.started
        if p99 is None:
            if length > LONG:
                text = f"fewer than {KNOWN} attempts of task {task} ended within a day"
                look.unknown.append(f"whether job {first.job}, running for {span(length)}, is stuck is not known: {text}")
            continue
        late = sum(look.now - run.started > max(TIMES * p99, p99 + MORE) for run in each)
        if late:
            what = f"{counted(late, 'job')} of task {task} {'runs' if late == 1 else 'run'} for too long: "
            what += f"{first.job} on {first.worker} for {span(length)}; 99 % take less than {span(p99)}"
            yield Item("running", what, first.started, task=task, job=first.job)


def _usual(look: _Look, tasks: Collection[str]) -> dict[str, float]:
    """The p99 of the run times of these tasks, as far as it is known."""
    found: dict[str, Sketch] = {}
    for (_, task), tally in recent(look.broker.kv, look.now - USUAL, look.now + 1, GRAINS[2]).items():
        if task in tasks:
            merge(found.setdefault(task, {}), tally.run)
    known = {task: quantile(sketch, 0.99) for task, sketch in found.items() if sum(sketch.values()) >= KNOWN}
    return {task: p99 for task, p99 in known.items() if p99 is not None}


def _retrying(look: _Look) -> Iterator[Item]:
    """Jobs that fail again and again."""
    found: dict[str, list[JobView]] = {}
    for state in (State.SCHEDULED, State.RUNNING):
        for job in _jobs(look, state, lambda job: (job.due or 0.0) > look.now + LONGEST):
            if job.attempts >= RETRIED:
                found.setdefault(job.task, []).append(job)
    for task, jobs in sorted(found.items()):
        worst = max(jobs, key=lambda job: job.attempts)
        last = worst.failures[-1] if worst.failures else None
        why = f": {last.type}: {last.message[:200]}" if last else ""
        what = f"{counted(len(jobs), 'job')} of task {task} failed {RETRIED} times or more and will be tried again: "
        since = min((job.failures[0].at for job in jobs if job.failures), default=None)
        yield Item("retrying", f"{what}{worst.id} failed {worst.attempts} times{why}", since, task=task, job=worst.id)


def _pauses(look: _Look) -> Iterator[Item]:
    """Paused tasks that hold jobs; pauses of single jobs that do, among the first jobs that wait."""
    found = paused(look.broker.kv)
    for task in sorted(found["task"])[: MOST + 1]:
        page = look.broker.inspector.jobs(State.WAITING, task=task, limit=PAGE)
        if page.jobs:
            count = f"{'at least ' if page.after else ''}{counted(len(page.jobs), 'job')}"
            yield Item("paused", f"task {task} is paused and holds {count}", page.jobs[0].waits_since, task=task)
    if single := rules(found):
        jobs = list(_jobs(look, State.WAITING))
        for rule in single:
            if its := [job for job in jobs if rule.holds(job)]:
                yield Item("paused", f"{rule.said}: {counted(len(its), 'job')}", its[0].waits_since, job=its[0].id)


def _held(look: _Look) -> Iterator[Item]:
    """Jobs held for long by other jobs, by a limit or for want of a worker that can run them."""
    jobs = [
        job for job in _jobs(look, State.WAITING, lambda job: look.now - (job.enqueued or 0.0) <= LONG) if _old(look, job)
    ]
    for number, group in enumerate(held.groups(look.broker, jobs, paused(look.broker.kv))):
        if group.paused:
            continue
        first = min(group.jobs, key=lambda job: job.waits_since or look.now)
        since = first.waits_since or look.now
        why = explain(look.broker, first.id) if number < MOST else group.why  # more than those are only counted
        which = f"{first.task} {first.id} for {span(look.now - since)}"
        what = f"{counted(len(group.jobs), 'job')} held for over an hour, {which}: {why}"
        yield Item("held", what, since, queue=first.queue, job=first.id)


def _old(look: _Look, job: JobView) -> bool:
    return look.now - (job.waits_since or look.now) > LONG


def _jobs(look: _Look, state: State, enough: Callable[[JobView], bool] = lambda _: False) -> Iterator[JobView]:
    """The first jobs in this state, within the budget, up to a page whose last job is `enough`: none behind it matters."""
    begun, after, looked = time.monotonic(), None, 0
    while True:
        page = look.broker.inspector.jobs(state, after=after, limit=PAGE)
        yield from page.jobs
        looked, after = looked + len(page.jobs), page.after
        if after is None or (page.jobs and enough(page.jobs[-1])):
            return
        if looked >= LOOKED_AT or time.monotonic() - begun > SECONDS:
            look.unknown.append(f"only the first {looked:,} {state.value} jobs were looked at")
            return


CHECKS: Sequence[tuple[str, Callable[[_Look], Iterator[Item]]]] = (
    ("whether a queue has no worker", _queues),
    ("whether a schedule missed a tick", _schedules),
    ("whether a job runs for too long", _running),
    ("whether a job is retried for ever", _retrying),
    ("whether a pause holds jobs", _pauses),
    ("whether a job is held", _held),
)
