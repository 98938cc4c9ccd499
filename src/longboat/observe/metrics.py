"""Metrics: counts, latencies and queues in Prometheus' text format."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Mapping

import msgspec

from longboat.contract.broker import Broker
from longboat.core.job import State
from longboat.errors import ConfigError, Unsupported
from longboat.observe.history import workers
from longboat.observe.numbers import Numbers, numbers
from longboat.observe.sketch import Sketch, middle, quantiles, total
from longboat.observe.tally import Slice, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]
OUTCOMES = ("succeeded", "retried", "dead", "cancelled")
KINDS = {"wait": "wait", "run": "run", "limit_wait": "limited", "parents_wait": "parents"}
"""Latencies by their names in metrics: the sketches of a tally."""
ALWAYS = ("wait", "run")
"""Those that every task has a histogram of; of the others only tasks that have any."""
QUANTILES = (0.5, 0.95, 0.99)
EDGES = tuple(round(base * 10.0**power, 9) for power in range(-4, 5) for base in (1.0, 2.0, 5.0))
"""The upper bounds of the histograms' buckets, in seconds. They never change; pages have narrower ones."""
SHOWN = (State.READY, State.SCHEDULED, State.WAITING, State.RUNNING, State.DEAD)

FAMILIES = {
    "longboat_jobs_enqueued_total": ("counter", "Jobs stored by this process."),
    "longboat_jobs_finished_total": ("counter", "Attempts ended by this process. With outcome retried, the job goes on."),
    "longboat_job_wait_seconds": ("histogram", "Time from when a job could start until it did. The sum is at most 2 % off."),
    "longboat_job_run_seconds": ("histogram", "Duration of attempts. The sum is at most 2 % off."),
    "longboat_job_limit_wait_seconds": ("histogram", "Time from when a job with limits was due until it started."),
    "longboat_job_parents_wait_seconds": ("histogram", "Time from when a job with parents was due until it started."),
    "longboat_slots": ("gauge", "Slots of this process, busy or free."),
    "longboat_broker_up": ("gauge", "1 if the broker answers this process, else 0."),
    "longboat_queue_depth": ("gauge", "Jobs in the broker. Every process reports the same value."),
    "longboat_queue_oldest_age_seconds": (
        "gauge",
        "Age of the next job in the queue. Every process reports the same value.",
    ),
    "longboat_series_left_out": (
        "gauge",
        "Queues, or queues and tasks, that are counted under the name other because there are too many.",
    ),
    "longboat_workers": ("gauge", "Living workers. Every process reports the same value."),
    "longboat_recent_jobs": ("gauge", "Attempts ended in the last 15 minutes. Every dashboard reports the same value."),
    "longboat_recent_wait_seconds": ("gauge", "Quantiles of the last 15 minutes. Every dashboard reports the same value."),
    "longboat_recent_limit_wait_seconds": (
        "gauge",
        "Quantiles of the last 15 minutes. Every dashboard reports the same value.",
    ),
    "longboat_recent_parents_wait_seconds": (
        "gauge",
        "Quantiles of the last 15 minutes. Every dashboard reports the same value.",
    ),
    "longboat_recent_run_seconds": ("gauge", "Quantiles of the last 15 minutes. Every dashboard reports the same value."),
}
"""Every metric: kind and meaning."""


SERIES = 100
"""Queues, or pairs of queue and task, that have samples of their own; the rest is counted as OTHER."""
OTHER = "other"
"""The name of a queue, and of a task, under which those are counted that are too many."""
LABELS_VARIABLE = "LONGBOAT_METRICS_LABELS"
LABELS = ("queue", "task")


def labels() -> frozenset[str]:
    """Of queue and task, those that the environment lets samples have: both by default. Raises ConfigError."""
    chosen = {each.strip() for each in os.environ.get(LABELS_VARIABLE, ",".join(LABELS)).split(",")} - {"", "none"}
    if not chosen <= {*LABELS}:
        raise ConfigError(f"{LABELS_VARIABLE}: write queue,task or queue or task or none, not {min(chosen - {*LABELS})!r}")
    return frozenset(chosen)


def bounded(totals: Slice, *, busiest: bool = False) -> tuple[Slice, int]:
    """The totals by the labels that are wanted, of SERIES pairs at most; and how many pairs are counted as OTHER.

    Those that come first have samples of their own, so that a counter never passes from one to another; or the `busiest`.
    """
    wanted = labels()
    found: Slice = {}
    for (queue, task), tally in totals.items():
        name = queue if "queue" in wanted else "", task if "task" in wanted else ""
        found.setdefault(name, Tally()).add(tally)
    if len(found) <= SERIES:
        return found, 0
    names = sorted(found, key=lambda name: -found[name].ended) if busiest else list(found)
    other = Tally()
    for name in names[SERIES:]:
        other.add(found[name])
    kept = {name: found[name] for name in names[:SERIES]}
    kept.setdefault((OTHER if "queue" in wanted else "", OTHER if "task" in wanted else ""), Tally()).add(other)
    return kept, len(names) - SERIES


def _named(queue: str, task: str) -> Labels:
    return tuple((name, text) for name, text in (("queue", queue), ("task", task)) if text)


class Page:
    """Samples by family, as text."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._left_out = 0

    def add(self, family: str, value: float, *labels: tuple[str, str], suffix: str = "") -> None:
        said = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
        line = f"{family}{suffix}{{{said}}} {value:.12g}" if said else f"{family}{suffix} {value:.12g}"
        self._lines.setdefault(family, []).append(line)

    def leave_out(self, count: int) -> None:
        """Say that so many have no samples of their own. The most of what is said counts."""
        self._left_out = max(self._left_out, count)

    def include(self, other: Page) -> None:
        """Add its samples here."""
        self.leave_out(other._left_out)
        for family, lines in other._lines.items():
            self._lines.setdefault(family, []).extend(lines)

    def text(self) -> str:
        """The answer to a scrape."""
        lines = []
        self._lines["longboat_series_left_out"] = [f"longboat_series_left_out {self._left_out}"]
        for family, (kind, meaning) in FAMILIES.items():
            if family in self._lines:
                lines += [f"# HELP {family} {meaning}", f"# TYPE {family} {kind}", *self._lines[family]]
        return "\n".join(lines) + "\n"


def add_finished(page: Page, totals: Slice) -> None:
    """Counters and histograms of what a worker has done since it started."""
    found, left_out = bounded(totals)
    page.leave_out(left_out)
    for (queue, task), tally in sorted(found.items()):
        names = _named(queue, task)
        for outcome in OUTCOMES:
            page.add("longboat_jobs_finished_total", getattr(tally, outcome), *names, ("outcome", outcome))
        for what, name in KINDS.items():
            if (sketch := getattr(tally, name)) or name in ALWAYS:
                _add_histogram(page, f"longboat_job_{what}_seconds", sketch, names)


def add_queues(page: Page, broker: Broker, now: float) -> None:
    """The state of the broker, as far as it is known. Raises BrokerError; Unsupported if it counts no jobs."""
    found = numbers(broker)
    depths: Counter[str] = Counter()
    for (queue, state), count in found.counts.items():
        depths[queue] += count if state in SHOWN else 0
    each = [queue for queue, _ in depths.most_common(SERIES)] if "queue" in labels() else []
    page.leave_out(len(depths) - len(each) if each else 0)
    for queue in sorted(each):
        _add_depths(page, found, [queue], ("queue", queue))
        with contextlib.suppress(Unsupported):
            page.add("longboat_queue_oldest_age_seconds", _age(broker, found, queue, now), ("queue", queue))
    if len(depths) > len(each):
        name = [("queue", OTHER)] if each else []
        _add_depths(page, found, depths.keys() - set(each), *name)
    page.add("longboat_workers", len(workers(broker.kv)))


def add_recent(page: Page, lately: Slice) -> None:
    """The history of the last 15 minutes, of all workers together."""
    found, left_out = bounded(lately, busiest=True)
    page.leave_out(left_out)
    for (queue, task), tally in sorted(found.items()):
        names = _named(queue, task)
        for outcome in OUTCOMES:
            page.add("longboat_recent_jobs", getattr(tally, outcome), *names, ("outcome", outcome))
        for what, name in KINDS.items():
            for part, value in zip(QUANTILES, quantiles(getattr(tally, name), QUANTILES), strict=True):
                if value is not None:
                    page.add(f"longboat_recent_{what}_seconds", value, *names, ("quantile", f"{part:g}"))


def _add_depths(page: Page, found: Numbers, queues: Collection[str], *labels: tuple[str, str]) -> None:
    for state in SHOWN:
        if (number := found.total(state, queues)) is not None:
            page.add("longboat_queue_depth", number, *labels, ("state", state.value))


def _age(broker: Broker, found: Numbers, queue: str, now: float) -> float:
    if not found.of(queue, State.READY):
        return 0.0
    jobs = broker.inspector.jobs(State.READY, queue=queue, limit=1).jobs
    since = [job.due if job.due is not None else job.enqueued for job in jobs]
    return max((now - at for at in since if at is not None), default=0.0)


def _add_histogram(page: Page, family: str, sketch: Sketch, labels: Labels) -> None:
    ordered, count, at = sorted(sketch.items()), 0, 0
    for edge in EDGES:
        while at < len(ordered) and middle(ordered[at][0]) <= edge:
            count += ordered[at][1]
            at += 1
        page.add(family, count, *labels, ("le", f"{edge:g}"), suffix="_bucket")
    count = sum(sketch.values())
    page.add(family, count, *labels, ("le", "+Inf"), suffix="_bucket")
    page.add(family, total(sketch), *labels, suffix="_sum")
    page.add(family, count, *labels, suffix="_count")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Sight(msgspec.Struct):
    """The state of a worker process, for its metrics."""

    totals: Slice
    enqueued: Mapping[tuple[str, str], int]
    slots: int
    used: int
    broker_up: bool


def of_worker(sight: Sight) -> Page:
    """Everything that a worker knows without asking the broker."""
    page = Page()
    enqueued, left_out = bounded({name: Tally(succeeded=count) for name, count in sight.enqueued.items()})
    page.leave_out(left_out)
    for (queue, task), tally in sorted(enqueued.items()):
        page.add("longboat_jobs_enqueued_total", tally.succeeded, *_named(queue, task))
    add_finished(page, sight.totals)
    page.add("longboat_slots", sight.used, ("state", "busy"))
    page.add("longboat_slots", max(0, sight.slots - sight.used), ("state", "free"))
    page.add("longboat_broker_up", float(sight.broker_up))
    return page
