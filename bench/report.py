"""The report: a table while it runs, then bench/results/: the figures as JSON, and a page and charts made from it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.chart import chart
from bench.figure import Figure, Plan
from bench.place import HERE, ROOT

RESULTS = HERE / "results"
_MET = {True: "met", False: "missed", None: ""}

Found = Mapping[str, Sequence[Figure]]
"""What was measured, by the name of its module."""


@dataclass
class Edition:
    """One of the reports. `limit` is the file of its hand-written loop, `store` the software that jobs are kept in with
    its version, `charts` more files to be drawn, by name: those for which None is returned stay as they are."""

    name: str
    title: str
    limit: str
    store: tuple[str, str]
    charts: Mapping[str, Callable[[Found], str | None]] = field(default_factory=dict)
    about: str = ""
    """How the figures are to be read, where they are not beside a hand-written loop."""


def tell(what: str) -> None:
    """What is measured now: one line that is written over on a terminal, nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K… {what}", end="", file=sys.stderr, flush=True)


def head() -> None:
    print(f"{'figure':<38} {'median':>12} {'min … max':>22} {'goal':>9}  {'':<6} beside", flush=True)


def row(figure: Figure) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    one = _plain(figure)
    beside = _beside(one)
    spread = f"{_text(one['min'])} … {_text(one['max'])}"
    median = f"{_text(one['median'])} {one['unit']}"
    print(f"{one['name']:<38} {median:>12} {spread:>22} {_goal(one):>9}  {_MET[one['met']]:<6} {beside}", flush=True)


def machine(edition: Edition) -> dict[str, Any]:
    """Where it was measured, and how busy that was before."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": platform.platform(),
        "file_system": _file_system(RESULTS),
        "python": platform.python_version(),
        edition.store[0].lower(): edition.store[1],
        "load_before": round(os.getloadavg()[0], 2),
    }


def write(edition: Edition, found: Found, plan: Plan, where: dict[str, Any]) -> None:
    """Figures that were not measured this time stay out of the page: a page is one run."""
    now = datetime.datetime.now(datetime.UTC)
    run: dict[str, Any] = {
        "date": now.isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {**where, "load_after": round(os.getloadavg()[0], 2)},
        "repeat": plan.repeat,
        "shared": plan.shared,
        "figures": {name: [_plain(figure) for figure in figures] for name, figures in found.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d}-{edition.name}.json"
    drawings = {name: draw(found) for name, draw in edition.charts.items()}
    files = {
        path.name: json.dumps(run, indent=1) + "\n",
        f"{edition.name}.md": page(edition, run, path.name, [name for name, drawing in drawings.items() if drawing]),
        f"{edition.name}.svg": chart([one for ones in run["figures"].values() for one in ones]),
        **{name: drawing for name, drawing in drawings.items() if drawing},
    }
    for name, text in files.items():
        (RESULTS / name).write_text(text)
    print(f"\nwritten to {RESULTS.relative_to(ROOT)}: {', '.join(files)}")


def page(edition: Edition, run: Mapping[str, Any], source: str, drawings: Sequence[str] = ()) -> str:
    """The run as Markdown. `drawings`: files to be shown beside the chart of goals."""
    where, (store, version) = run["machine"], edition.store
    lines = [
        f"# {edition.title}: figures",
        "",
        f"Made by `make bench` from [{source}]({source}); not edited by hand.",
        "",
        f"{run['date']}, commit {run['commit']}. {where['processor']}, {where['processors']} processors, {where['system']}, "
        f"{where['file_system']}; Python {where['python']}, {store} {version}. "
        f"Load of the machine before and after: {where['load_before']}, {where['load_after']}."
        + (" It was shared: other programs used its processors meanwhile." if run["shared"] else ""),
        "",
        f"Medians of {run['repeat']} or more. What is beside a peer ran alternately with it, and is judged by the median of "
        f"the ratios, pair by pair. "
        + (edition.about or f"The hand-written loop leaves out all that a queue is for (`{edition.limit}`)."),
        "",
        f"![What was reached of each goal]({edition.name}.svg)",
        *(f"![Beside others]({name})" for name in drawings),
        "",
        "| figure | median | min … max | goal | | beside | |",
        "|---|---:|---:|---:|---|---|---|",
    ]
    for ones in run["figures"].values():
        for one in ones:
            cells = (
                one["name"],
                f"{_text(one['median'])} {one['unit']}",
                f"{_text(one['min'])} … {_text(one['max'])}",
                _goal(one),
                _MET[one["met"]],
                _beside(one),
                one["note"],
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _plain(figure: Figure) -> dict[str, Any]:
    one: dict[str, Any] = {
        "name": figure.name,
        "unit": figure.unit,
        "median": figure.value,
        "min": min(figure.samples),
        "max": max(figure.samples),
        "samples": list(figure.samples),
        "goal": figure.goal,
        "goal_is": "at least" if figure.least else "at most",
        "met": figure.met,
        "note": figure.entry,
    }
    if figure.peer:
        one.update(ours=list(figure.ours), peer=list(figure.peer), peer_name=figure.peer_name, side_unit=figure.side_unit)
    return one


def _beside(one: Mapping[str, Any]) -> str:
    if not one.get("peer"):
        return ""
    ours, peer = (_text(sorted(one[side])[len(one[side]) // 2]) for side in ("ours", "peer"))
    return f"{ours} beside {peer} {one['side_unit']} ({one['peer_name']})"


def _goal(one: Mapping[str, Any]) -> str:
    return "" if one["goal"] is None else f"{'≥' if one['goal_is'] == 'at least' else '≤'} {_text(one['goal'])}"


def _text(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 or number == int(number) else f"{number:.3g}"


def _processor() -> str:
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _file_system(path: Path) -> str:
    """Of the longest mount point that the path begins with."""
    mounts = [line.split()[1:3] for line in _lines("/proc/mounts")]
    above = [(point, kind) for point, kind in mounts if path.resolve().is_relative_to(point)]
    return max(above, key=lambda one: len(one[0]))[1] if above else "unknown file system"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + (" and changes" if git("status", "--porcelain", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
