"""What Prometheus reads, and that the board and the alerts of deploy/ ask for nothing else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.observe.metrics import EDGES, FAMILIES, SHOWN, Page, Sight, add_queues, add_recent, of_worker
from longboat.observe.sketch import ERROR, place
from longboat.observe.tally import Tally
from longboat.testing.conformance.stage import job

DEPLOY = Path(__file__).parents[2] / "deploy"
LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Read as Prometheus does; fails on a line that it would refuse."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        matched = LINE.fullmatch(line)
        assert matched, line
        labels = dict(re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', matched[2] or ""))
        found.setdefault(matched[1], []).append((labels, float(matched[3])))
    return found


def everything() -> Page:
    tally = Tally(5, 2, 1, 1, {place(0.15e-3): 3}, {place(70_000): 2}, {place(1.0): 1}, {place(2.0): 1})
    page = of_worker(Sight({("q", "t"): tally}, {("q", "t"): 7}, 10, 4, True))
    broker = MemoryBroker()
    broker.put([job(queue="q")])
    add_queues(page, broker, time.time())
    add_recent(page, {("q", "t"): tally})
    return page


def test_every_family_is_told_with_its_kind() -> None:
    text = everything().text()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    assert kinds == {name: kind for name, (kind, _) in FAMILIES.items()}
    found = samples(text)
    outcomes = {labels["outcome"]: value for labels, value in found["longboat_jobs_finished_total"]}
    assert outcomes == {"succeeded": 5, "retried": 2, "dead": 1, "cancelled": 1}
    assert found["longboat_jobs_enqueued_total"] == [({"queue": "q", "task": "t"}, 7)]
    assert {labels["state"]: value for labels, value in found["longboat_slots"]} == {"busy": 4, "free": 6}
    depth = {labels["state"]: value for labels, value in found["longboat_queue_depth"]}
    assert depth == {state.value: float(state.value == "ready") for state in SHOWN}


def test_histograms_add_up() -> None:
    found = samples(everything().text())
    for name, count, below in (("longboat_job_wait_seconds", 3, 3), ("longboat_job_run_seconds", 2, 0)):
        buckets = [(labels["le"], value) for labels, value in found[f"{name}_bucket"]]
        assert len(buckets) == len(EDGES) + 1
        assert [float(le) for le, _ in buckets[:-1]] == list(EDGES)
        assert buckets[-1] == ("+Inf", count)
        assert buckets[1][1] == below
        values = [value for _, value in buckets]
        assert values == sorted(values)
        assert found[f"{name}_count"][0][1] == count
        assert found[f"{name}_sum"][0][1] > 0


def test_what_was_lately_is_told_in_quantiles_as_far_as_there_are_any() -> None:
    found = samples(everything().text())
    waits = {labels["quantile"]: value for labels, value in found["longboat_recent_wait_seconds"]}
    assert waits == pytest.approx(dict.fromkeys(("0.5", "0.95", "0.99"), 0.15e-3), rel=ERROR)
    assert [value for _, value in found["longboat_recent_run_seconds"]] == [pytest.approx(70_000, rel=ERROR)] * 3
    assert {labels["outcome"]: value for labels, value in found["longboat_recent_jobs"]}["retried"] == 2
    page = Page()
    add_recent(page, {("q", "t"): Tally(succeeded=1)})
    assert samples(page.text()).keys() == {"longboat_recent_jobs", "longboat_series_left_out"}


def test_names_of_any_kind_are_escaped() -> None:
    page = Page()
    page.add("longboat_workers", 1, ("queue", 'a"b\\c\nd'))
    (found,) = samples(page.text())["longboat_workers"]
    assert found[0]["queue"] == r"a\"b\\c\nd"


def expressions() -> Iterator[str]:
    kv = json.loads((DEPLOY / "grafana.json").read_text())
    for panel in kv["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (each["query"]["query"] for each in kv["templating"]["list"] if isinstance(each["query"], dict))
    alerts = (DEPLOY / "alerts.yml").read_text()
    found = re.findall(r"expr: (?:\|\n((?: {10}.*\n)+)|(.*))", alerts)
    assert len(found) == alerts.count("- alert:")
    yield from (one or other for one, other in found)


def test_the_board_and_the_alerts_ask_for_metrics_and_labels_that_there_are() -> None:
    found = samples(everything().text())
    asked = set()
    for expression in expressions():
        names = re.findall(r"(longboat_[a-z_]+)(?:\{([^}]*)\})?", expression)
        assert names, expression
        for name, selectors in names:
            asked.add(name)
            assert name in found, f"{name} in {expression}"
            labels = {label for sample, _ in found[name] for label in sample}
            assert set(re.findall(r"([a-z]+)(?:=~|!=|!~|=)\"", selectors)) <= labels, expression
        known = {label for name, _ in names for sample, _ in found[name] for label in sample}
        for group in re.findall(r"by \(([^)]*)\)", expression):
            assert {label.strip() for label in group.split(",")} <= known, expression
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} == FAMILIES.keys(), "each is shown somewhere"
