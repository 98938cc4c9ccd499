"""Asking before jobs are changed for good."""

from __future__ import annotations

import sys

import click

from longboat.cli.fail import FAILED, USAGE, CommandFailed


def agreed(what: str, *, yes: bool, dry_run: bool, as_json: bool = False) -> bool:
    """Whether to do it: says `what` it is, and asks. False for a dry run. With JSON nothing is said on standard output.

    Raises CommandFailed for a no.
    """
    if dry_run:
        if not as_json:
            click.echo(f"would {what}; nothing was changed")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise CommandFailed(f"this would {what}, and there is no terminal to ask on", "Say --yes, or --dry-run.", USAGE)
    if not click.confirm(f"This will {what}. Go on?", err=as_json):
        raise CommandFailed("nothing was changed", "Say --yes to go on without being asked.", FAILED)
    return True


def jobs(number: int, of: str = "") -> str:
    """So many jobs, in words."""
    return f"{number:,} {of + ' ' if of else ''}job{'' if number == 1 else 's'}"
