"""What a worker says of a queue that it is to serve and that nobody seems to use: perhaps its name is misspelt."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from longboat.contract.broker import Broker
from longboat.errors import BrokerError, Unsupported

NAMED = 10
"""Queues that one line names, at most."""


def unused(broker: Broker, serves: Sequence[str], of_tasks: Collection[str]) -> list[str]:
    """A sentence for each queue that is served, that no task here names, and that holds no job.

    `of_tasks`: the queues that tasks here name. Asks the broker only where one is not among them.
    """
    doubtful = [queue for queue in serves if queue not in of_tasks]
    if not doubtful:
        return []
    try:
        known = {queue for queue, _ in broker.inspector.counts()} | {*of_tasks}
    except Unsupported:
        known = {*of_tasks}
    except BrokerError:  # down: whoever receives tells of it
        return []
    return [_words(queue, known) for queue in doubtful if queue not in known]


def _words(queue: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    near = next(iter(get_close_matches(queue, known, 1, 0.6)), "")
    names = sorted(known)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    meant = f"did you mean {near!r}?" if near else f"queues known here: {', '.join(names[:NAMED])}{more}"
    return f"no task here is of queue {queue!r}, and it holds no job; {meant}"
