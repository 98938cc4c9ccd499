"""Telling the audit what a command has done: who ran it, where, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from longboat.operate.audit import Act, here

if TYPE_CHECKING:
    from longboat.contract.broker import Broker


def begun(broker: Broker, verb: str, reason: str | None) -> Act:
    """An act of whoever runs this command."""
    return Act(broker, here("command line", reason or ""), verb)


def ended(act: Act, what: str, ids: Sequence[str] = ()) -> None:
    """What it did; `ids`: jobs that it changed and did not mark yet. A failure to write it down is a warning."""
    act.tell(what, ids)
    if act.wrong:
        click.echo(f"warning: {act.wrong.strip(' ()').removeprefix('but ')}", err=True)


def told(broker: Broker, verb: str, what: str, reason: str | None, ids: Sequence[str] = ()) -> None:
    """What was done already."""
    ended(begun(broker, verb, reason), what, ids)
