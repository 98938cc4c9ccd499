"""`longboat demo`: the command around demo.py."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="The worker's child processes.",
)
def command(processes: int) -> int:
    """Run real work through a real worker: every source file of Python's standard library goes as a job.

    The worker parses and measures them in child processes, beside coroutines and threads; the report is checked against
    a plain loop. Takes some seconds, needs nothing, leaves nothing behind.

    Exit status: 0 the reports are equal, 1 not.
    """
    from longboat.cli import demo

    return demo.run(processes)
