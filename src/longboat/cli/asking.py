"""Asking for confirmation before jobs are changed for good."""

from __future__ import annotations

import sys

import click

from longboat.cli.fail import FAILED, USAGE, CommandFailed
from longboat.core.text import counted


def agreed(what: str, *, yes: bool, dry_run: bool = False, as_json: bool = False) -> bool:
    """Whether to go ahead. Says what would happen and asks; False for a dry run. With JSON, standard output stays silent.

    Raises CommandFailed if the answer is no, or if there is nobody to ask.
    """
    if dry_run:
        if not as_json:
            click.echo(f"would {what}; nothing was changed")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise CommandFailed(f"this would {what}, but there is no terminal to ask on", "Use --yes, or --dry-run.", USAGE)
    if not click.confirm(f"This will {what}. Continue?", err=as_json):
        raise CommandFailed("nothing was changed", "Use --yes to continue without being asked.", FAILED)
    return True


def jobs(number: int, of: str = "") -> str:
    """A number of jobs, in words."""
    return counted(number, f"{of} job" if of else "job")
