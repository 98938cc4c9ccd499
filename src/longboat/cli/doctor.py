"""`longboat doctor`: the findings of diagnosis.py in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from longboat.cli import show
from longboat.cli.diagnosis import examine
from longboat.cli.fail import DONE, UNHEALTHY, line
from longboat.cli.params import outputs

BRIEF = ("longboat", "app", "url", "server", "file", "broker", "queues", "workers")
"""The facts that are told without --verbose, in at most FEW lines each."""
FEW = 5


@click.command()
@click.option("--verbose", is_flag=True, help="Tell everything that was looked at.")
@outputs
def command(verbose: bool, as_json: bool, url: str | None) -> int:
    """Check the installation, where each setting comes from, the app and the broker. Changes nothing.

    Tells which Longboat, app and broker this is about, what there is, and what needs attention; with --verbose also the
    Python, the packages, the variables, the tasks, and all that is known of the server and of what the broker cannot do.

    With --json, one document, with everything as data: {"healthy": …, "facts": {…}, "problems": [{"what": …, "advice": …,
    "serious": …}]}. Times are in seconds, sizes in bytes.

    Exit status: 0 healthy, perhaps with warnings; 5 something is serious: the app cannot be imported, the broker cannot be
    reached or loses jobs, its user may not run them, the disk is nearly full.
    """
    findings = examine(url)
    if as_json:
        problems = [problem._asdict() for problem in findings.problems]
        click.echo(show.to_json({"healthy": findings.healthy, "facts": findings.facts, "problems": problems}))
    else:
        for name, value in findings.facts.items():
            if verbose or name in BRIEF:
                _tell(name, value, verbose)
        for problem in findings.problems:
            word = "PROBLEM" if problem.serious else "warning"
            click.echo(f"\n{word}: {line(problem.what)}\n  {line(problem.advice)}")
        click.echo("\nhealthy" if findings.healthy else "\nunhealthy")
    return DONE if findings.healthy else UNHEALTHY


def _tell(name: str, value: Any, verbose: bool) -> None:
    said = _WORDS.get(name, str)(value)
    lines = [said] if isinstance(said, str) else [*said] or ["none"]
    if not verbose and len(lines) > FEW + 1:
        lines[FEW:] = [f"… and {len(lines) - FEW} more: --verbose"]
    for number, text in enumerate(lines):
        click.echo(f"{'' if number else name:<12}  {line(text)}")


def _file(its: dict[str, Any]) -> str:
    if not its["exists"]:
        return f"{its['path']}: does not exist yet; the first job creates it"
    return f"{its['path']}, {its['bytes'] / 1e6:,.1f} MB, mode {its['mode']}"


def _broker(its: dict[str, Any]) -> str:
    return str(its["problem"]) if its["answered_in"] is None else f"answered in {its['answered_in'] * 1000:.1f} ms"


def _schema(its: dict[str, Any]) -> str:
    return str(its["problem"]) if its["version"] is None else f"version {its['version']}, SQLite {its['sqlite']}"


_WORDS: dict[str, Callable[[Any], str | Iterable[str]]] = {
    "python": lambda its: f"{its['version']} ({its['executable']})",
    "extras": lambda its: [f"{name} {'' if there else 'not '}installed" for name, there in its.items()],
    "clock": lambda its: f"{its['implementation']}, resolution {its['resolution']:g} s",
    "variables": lambda its: [f"{name}={value}" for name, value in its.items()],
    "app": lambda its: f"{its['spec']} ({its['origin']})" if its["spec"] else its["origin"],
    "tasks": lambda its: [f"{each['name']} (queue {each['queue']}, {each['executor']})" for each in its],
    "url": lambda its: f"{its['url']} ({its['origin']})",
    "spool": lambda its: its["said"],
    "outbox": lambda its: its["said"],
    "disk": lambda its: f"{its['free'] / 1e9:,.1f} GB free",
    "file": _file,
    "schema": _schema,
    "broker": _broker,
    "cannot": list,
    "queues": lambda its: [
        f"{queue}: {', '.join(f'{number} {state}' for state, number in states.items())}" for queue, states in its.items()
    ],
    "workers": lambda its: [
        f"{each['name']}: {', '.join(each['queues']) or 'every queue'}, {each['running']} running" for each in its
    ],
}
"""Fact -> its words, or a line for each of its parts. A fact that has none is said as it is."""
