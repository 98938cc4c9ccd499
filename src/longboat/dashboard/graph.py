"""A flow's graph as boxes and lines with their positions, which the template draws as SVG."""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec

from longboat.client.flows import Seen
from longboat.core.job import State

SINGLE = 60
"""Up to this many jobs are drawn one by one; of more, those of the same task and depth share a box."""
WIDTH, HEIGHT, ACROSS, DOWN = 190, 50, 64, 18
WORST = (State.DEAD, State.CANCELLED, State.RUNNING, State.READY, State.SCHEDULED, State.WAITING, None, State.SUCCEEDED)


class Box(msgspec.Struct):
    """One job, or several of the same task and depth."""

    id: str
    task: str
    states: Counter[State | None]
    """None: not known."""
    x: float = 0.0
    y: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.states.values())

    @property
    def state(self) -> State | None:
        """The most interesting state among its jobs."""
        return next(state for state in WORST if self.states[state])


class Graph(msgspec.Struct):
    boxes: list[Box]
    lines: list[str]
    """SVG paths."""
    width: float
    height: float


def graph(jobs: list[Seen]) -> Graph:
    """The graph of these jobs, parents first. Of one without a view no parents are known."""
    depths: dict[str, int] = {}
    after: dict[str, list[str]] = {}
    known = {each.id for each in jobs}
    for each in jobs:
        job_id, view = each.id, each.view
        parents = view.constraints.after if view is not None and view.constraints is not None else []
        above = [parent for parent in parents if parent in known]
        if view is not None and (caller := view.headers.get("parent")) in known and caller is not None:
            above.append(caller)
        after[job_id] = above
        depths[job_id] = max((depths.get(parent, 0) + 1 for parent in above), default=0)
    box_of: dict[str, Box] = {}
    boxes: dict[tuple[int, str], Box] = {}
    for each in jobs:
        name = each.id if len(jobs) <= SINGLE else each.task
        box = boxes.setdefault((depths[each.id], name), Box(each.id, each.task, Counter()))
        box.states[each.state] += 1
        box_of[each.id] = box
    columns: dict[int, list[Box]] = defaultdict(list)
    for (deep, _), box in boxes.items():
        columns[deep].append(box)
    lines = {(box_of[parent].id, box_of[job_id].id) for job_id, parents in after.items() for parent in parents}
    return _placed(columns, lines)


def _placed(columns: dict[int, list[Box]], lines: set[tuple[str, str]]) -> Graph:
    height = max(len(column) for column in columns.values()) * (HEIGHT + DOWN) - DOWN if columns else 0
    above: dict[str, list[str]] = defaultdict(list)
    for parent, child in lines:
        above[child].append(parent)
    by_id: dict[str, Box] = {}
    for deep in sorted(columns):
        column = columns[deep]
        middle = {box.id: _mean([by_id[each].y for each in above[box.id] if each in by_id]) for box in column}
        column.sort(key=lambda box: middle[box.id])
        top = (height - len(column) * (HEIGHT + DOWN) + DOWN) / 2
        for place, box in enumerate(column):
            box.x, box.y = deep * (WIDTH + ACROSS), top + place * (HEIGHT + DOWN)
            by_id[box.id] = box
    paths = []
    for parent, child in sorted(lines):
        one, two = by_id[parent], by_id[child]
        x, y, to_x, to_y = one.x + WIDTH, one.y + HEIGHT / 2, two.x, two.y + HEIGHT / 2
        bend = (to_x - x) / 2
        paths.append(f"M{x:.0f},{y:.0f} C{x + bend:.0f},{y:.0f} {to_x - bend:.0f},{to_y:.0f} {to_x:.0f},{to_y:.0f}")
    width = (max(columns, default=0) + 1) * (WIDTH + ACROSS) - ACROSS
    return Graph(list(by_id.values()), paths, width, height)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
