"""`longboat doctor`: the findings of diagnosis.py in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from longboat.cli import show
from longboat.cli.diagnosis import examine
from longboat.cli.fail import DONE, UNHEALTHY, line
from longboat.cli.params import outputs


@click.command()
@outputs
def command(as_json: bool, url: str | None) -> int:
    """Check the installation, where each setting comes from, the app and the broker. Changes nothing.

    With --json, one document: {"healthy": …, "facts": {…}, "problems": [{"what": …, "advice": …, "serious": …}]}.

    Exit status: 0 healthy, perhaps with warnings; 5 something is serious: the app cannot be imported, the broker cannot be
    reached or loses jobs, its user may not run them, the disk is nearly full.
    """
    findings = examine(url)
    if as_json:
        problems = [problem._asdict() for problem in findings.problems]
        click.echo(show.to_json({"healthy": findings.healthy, "facts": findings.facts, "problems": problems}))
    else:
        for name, value in findings.facts.items():
            first, *others = _lines(value)
            click.echo(f"{name:<12}  {first}")
            for other in others:
                click.echo(f"{'':<12}  {other}")
        for problem in findings.problems:
            word = "PROBLEM" if problem.serious else "warning"
            click.echo(f"\n{word}: {line(problem.what)}\n  {line(problem.advice)}")
        click.echo("\nhealthy" if findings.healthy else "\nunhealthy")
    return DONE if findings.healthy else UNHEALTHY


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (line(f"{key}: {_one(item)}") for key, item in value.items()) if value else ("none",)
    elif isinstance(value, list):
        yield from (line(_one(item)) for item in value) if value else ("none",)
    else:
        yield line(str(value))


def _one(item: Any) -> str:
    if isinstance(item, dict):
        return ", ".join(
            f"{number} {name}" if isinstance(number, int) else f"{name} {number}" for name, number in item.items()
        )
    return str(item)
