"""`manage.py longboat …`: Longboat's command line with this project's app."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from longboat.cli.locate import DJANGO
from longboat.cli.main import run

OF_DJANGO = ("--settings", "--pythonpath")
"""Options of every command of manage.py with a value, which it has heeded by now."""

FOLLOW = ("worker", "dev")
"""Commands that start anew, without the project's code, which --reload could not replace in the parent of the workers."""


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    help = "Workers, jobs, the dashboard and all else that the command `longboat` has, for this project."
    requires_system_checks: list[str] = []  # noqa: RUF012  # as its base class has it

    def run_from_argv(self, argv: list[str]) -> None:
        """From a shell: all words behind `longboat` are the command line's own, --help too."""
        os.environ["LONGBOAT_APP"] = DJANGO
        words = _words(argv[2:])
        if words[:1] and words[0] in FOLLOW:
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
            os.execv(sys.executable, [sys.executable, "-m", "longboat", *words])
        sys.exit(run(words, f"{os.path.basename(argv[0])} {argv[1]}"))

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("args", nargs=argparse.REMAINDER)

    def handle(self, *words: str, **_: Any) -> None:
        """By `call_command("longboat", "jobs", "--json")`. Raises CommandError for a status other than 0."""
        os.environ["LONGBOAT_APP"] = DJANGO
        if status := run(words, "longboat"):
            raise CommandError(f"longboat {' '.join(words)}: exit status {status}", returncode=status)


def _words(given: list[str]) -> list[str]:
    """The words without those options of Django's."""
    words = list(given)
    for place in reversed(range(len(given))):
        name, separator, _ = given[place].partition("=")
        if name in OF_DJANGO:
            del words[place : place + (1 if separator else 2)]
    return words
