"""Commands given to workers: kept beside the jobs until the worker they name takes them."""

from __future__ import annotations

import enum

from longboat.contract.kv import KV, Entry
from longboat.observe.history import workers

NAMESPACE = "commands"
KEPT = 60.0
"""Seconds that a command waits for its worker. A worker that cannot reach the broker for that long never gets it."""


class Command(enum.StrEnum):
    QUIET = "quiet"
    """Take no more jobs; running ones go on."""
    RESUME = "resume"
    """Take jobs again."""
    STOP = "stop"
    """Take no more jobs, finish running ones within the grace period, hand back the rest, exit."""
    STACKS = "stacks"
    """Write down where its running jobs are: see stacks.py."""


def _key(worker: str, command: Command) -> str:
    """To be told its stacks replaces no other command."""
    return f"{worker} stacks" if command is Command.STACKS else worker


def give(kv: KV, worker: str, command: Command) -> bool:
    """Give the worker of this name a command, which it follows within about a second; False if no such worker is alive.

    It replaces a command that the worker has not taken yet.
    """
    found = next((record for record in workers(kv) if record.name == worker), None)
    if found is None:
        return False
    kv.write(NAMESPACE, [Entry(_key(found.id or found.name, command), command.value.encode(), KEPT)])
    return True


def take(kv: KV, worker: str) -> Command | None:
    """The command given to the worker of this id since it last asked. Each command is taken once."""
    keys = [worker, _key(worker, Command.STACKS)]
    for key, value in zip(keys, kv.read(NAMESPACE, keys), strict=True):
        if value is None or not kv.compare_and_set(NAMESPACE, Entry(key, None), old=value):
            continue  # none, or replaced at this moment: the next look finds it
        try:
            return Command(value.decode())
        except ValueError:
            continue  # from another version
    return None
