"""What can be done with jobs in the admin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from longboat.contract.broker import Broker
from longboat.contrib.django.permissions import DELETE, OPERATE, ROLES
from longboat.core.job import State
from longboat.operate import audit, requeue

UNENDED = (State.READY, State.SCHEDULED, State.WAITING, State.RUNNING)


class Action(NamedTuple):
    label: str
    became: str
    permission: str
    states: Sequence[State]
    """Of the jobs on which it has an effect."""
    do: Callable[[Broker, list[str]], Sequence[str]]
    """Returns the ids of those on which it had one."""
    asks: bool = False
    """It cannot be undone."""


def _delete(broker: Broker, ids: list[str]) -> list[str]:
    known = [each for each, view in zip(ids, broker.inspector.find(ids), strict=True) if view is not None]
    requeue.discard(broker, known)
    return [each for each, view in zip(known, broker.inspector.find(known), strict=True) if view is None]


ACTIONS = {
    "retry": Action("Retry selected jobs", "retried", OPERATE, (State.DEAD,), lambda b, ids: b.inspector.retry(ids)),
    "cancel": Action("Cancel selected jobs", "cancelled", OPERATE, UNENDED, lambda b, ids: b.inspector.cancel(ids)),
    "delete": Action("Delete selected jobs", "deleted", DELETE, (*UNENDED[:3], State.DEAD), _delete, asks=True),
}


def act(broker: Broker, user: Any, name: str, ids: list[str]) -> tuple[str, Sequence[str]]:
    """What was done, in a sentence, and the ids of the jobs that it was done to. Raises BrokerError."""
    action = ACTIONS[name]
    done = action.do(broker, ids)
    said = f"{len(done)} job{'' if len(done) == 1 else 's'} {action.became}"
    if len(done) < len(ids):
        said += f" of {len(ids)} selected: the others are in another state, or part of a flow"
    by = audit.By(user.get_username(), "admin", role=ROLES[action.permission])
    return f"{said}{audit.told(broker, by, name, audit.named(said, ids), done)}.", done
