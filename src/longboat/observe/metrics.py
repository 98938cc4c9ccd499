"""Metrics: counts, latencies and queues in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from longboat.contract.broker import Broker
from longboat.core.job import State
from longboat.observe.history import EDGES, Slice, quantile, workers

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]
OUTCOMES = ("succeeded", "retried", "dead", "cancelled")
QUANTILES = (0.5, 0.95, 0.99)
SHOWN = (State.READY, State.SCHEDULED, State.WAITING, State.RUNNING, State.DEAD)

FAMILIES = {
    "longboat_jobs_enqueued_total": ("counter", "Jobs stored by this process."),
    "longboat_jobs_finished_total": ("counter", "Attempts ended by this process. With outcome retried, the job goes on."),
    "longboat_job_wait_seconds": ("histogram", "Time from when a job could start until it did. The sum is estimated."),
    "longboat_job_run_seconds": ("histogram", "Duration of attempts. The sum is estimated."),
    "longboat_slots": ("gauge", "Slots of this process, busy or free."),
    "longboat_broker_up": ("gauge", "1 if the broker answers this process, else 0."),
    "longboat_queue_depth": ("gauge", "Jobs in the broker. Every process reports the same value."),
    "longboat_queue_oldest_age_seconds": (
        "gauge",
        "Age of the next job in the queue. Every process reports the same value.",
    ),
    "longboat_workers": ("gauge", "Living workers. Every process reports the same value."),
    "longboat_recent_jobs": ("gauge", "Attempts ended in the last 15 minutes. Every dashboard reports the same value."),
    "longboat_recent_wait_seconds": ("gauge", "Quantiles of the last 15 minutes. Every dashboard reports the same value."),
    "longboat_recent_run_seconds": ("gauge", "Quantiles of the last 15 minutes. Every dashboard reports the same value."),
}
"""Every metric: kind and meaning."""


class Page:
    """Samples by family, as text."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, family: str, value: float, *labels: tuple[str, str], suffix: str = "") -> None:
        said = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
        line = f"{family}{suffix}{{{said}}} {value:.12g}" if said else f"{family}{suffix} {value:.12g}"
        self._lines.setdefault(family, []).append(line)

    def include(self, other: Page) -> None:
        """Add its samples here."""
        for family, lines in other._lines.items():
            self._lines.setdefault(family, []).extend(lines)

    def text(self) -> str:
        """The answer to a scrape."""
        lines = []
        for family, (kind, meaning) in FAMILIES.items():
            if family in self._lines:
                lines += [f"# HELP {family} {meaning}", f"# TYPE {family} {kind}", *self._lines[family]]
        return "\n".join(lines) + "\n"


def add_finished(page: Page, totals: Slice) -> None:
    """Counters and histograms of what a worker has done since it started."""
    for (queue, task), tally in sorted(totals.items()):
        labels = ("queue", queue), ("task", task)
        for outcome in OUTCOMES:
            page.add("longboat_jobs_finished_total", getattr(tally, outcome), *labels, ("outcome", outcome))
        _add_histogram(page, "longboat_job_wait_seconds", tally.wait, labels)
        _add_histogram(page, "longboat_job_run_seconds", tally.run, labels)


def add_queues(page: Page, broker: Broker, now: float) -> None:
    """The state of the broker. Raises BrokerError; Unsupported if it cannot tell."""
    counts = broker.inspector.counts()
    for queue in sorted({queue for queue, _ in counts}):
        for state in SHOWN:
            page.add("longboat_queue_depth", counts.get((queue, state), 0), ("queue", queue), ("state", state.value))
        page.add("longboat_queue_oldest_age_seconds", _age(broker, counts, queue, now), ("queue", queue))
    page.add("longboat_workers", len(workers(broker.kv)))


def add_recent(page: Page, lately: Slice) -> None:
    """The history of the last 15 minutes, of all workers together."""
    for (queue, task), tally in sorted(lately.items()):
        labels = ("queue", queue), ("task", task)
        for outcome in OUTCOMES:
            page.add("longboat_recent_jobs", getattr(tally, outcome), *labels, ("outcome", outcome))
        for what, histogram in (("wait", tally.wait), ("run", tally.run)):
            for part in QUANTILES:
                value = quantile(histogram, part)
                if value is not None:
                    page.add(f"longboat_recent_{what}_seconds", value, *labels, ("quantile", f"{part:g}"))


def _age(broker: Broker, counts: Mapping[tuple[str, State], int], queue: str, now: float) -> float:
    if not counts.get((queue, State.READY)):
        return 0.0
    jobs = broker.inspector.jobs(State.READY, queue=queue, limit=1).jobs
    since = [job.due if job.due is not None else job.enqueued for job in jobs]
    return max((now - at for at in since if at is not None), default=0.0)


def _add_histogram(page: Page, family: str, histogram: Iterable[int], labels: Labels) -> None:
    counts = list(histogram)
    total = 0
    for place, edge in enumerate(EDGES):
        total += counts[place] if place < len(counts) else 0
        page.add(family, total, *labels, ("le", f"{edge:g}"), suffix="_bucket")
    page.add(family, sum(counts), *labels, ("le", "+Inf"), suffix="_bucket")
    page.add(family, _sum(counts), *labels, suffix="_sum")
    page.add(family, sum(counts), *labels, suffix="_count")


def mean(histogram: Iterable[int]) -> float | None:
    """Roughly the mean in seconds; None without samples."""
    counts = list(histogram)
    return _sum(counts) / sum(counts) if any(counts) else None


def _sum(counts: list[int]) -> float:
    # The middle of a bucket whose upper bound is about twice the lower one.
    return sum(count * (EDGES[place] * 0.7 if place < len(EDGES) else EDGES[-1]) for place, count in enumerate(counts))


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
    for (queue, task), count in sorted(sight.enqueued.items()):
        page.add("longboat_jobs_enqueued_total", count, ("queue", queue), ("task", task))
    add_finished(page, sight.totals)
    page.add("longboat_slots", sight.used, ("state", "busy"))
    page.add("longboat_slots", max(0, sight.slots - sight.used), ("state", "free"))
    page.add("longboat_broker_up", float(sight.broker_up))
    return page
