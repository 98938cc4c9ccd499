"""Doing something to all jobs that a search finds: which are meant, how many of what, and then batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from longboat.contract.broker import Broker
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import ConfigError, Unsupported
from longboat.operate import requeue
from longboat.operate.search import Query, every, matches
from longboat.tasks.template import checked_name

BATCH = 200
"""Jobs of one call: between two, it can be stopped."""


class Action(msgspec.Struct, frozen=True):
    """What can be done to many jobs."""

    states: tuple[State, ...]
    """Of which states jobs can be meant, in the order in which jobs go through them: what goes on meanwhile is met again."""
    act: Callable[[Broker, Sequence[str], str], int]
    """(broker, ids, the queue that a move goes to) -> how many it had an effect on."""
    packs: bool = False
    """Whether jobs are taken out of the broker for it."""


_IDLE = (State.SCHEDULED, State.WAITING, State.READY)
ACTIONS = {
    "retry": Action((State.DEAD,), lambda broker, ids, _: len(broker.inspector.retry(ids))),
    "cancel": Action((*_IDLE, State.RUNNING), lambda broker, ids, _: len(broker.inspector.cancel(ids))),
    "discard": Action((*_IDLE, State.DEAD), lambda broker, ids, _: requeue.discard(broker, ids), packs=True),
    "move": Action((*_IDLE, State.DEAD), requeue.requeue, packs=True),
}
"""Discarding and moving leave jobs of flows as they are."""


class Chosen(msgspec.Struct):
    """The jobs that are meant."""

    ids: list[str] = []
    by: Counter[tuple[State, str]] = msgspec.field(default_factory=Counter)
    """How many by state and task."""

    def add(self, job: JobView) -> None:
        self.ids.append(job.id)
        self.by[job.state, job.task] += 1


class Done(msgspec.Struct):
    """How far it came."""

    tried: int = 0
    done: int = 0
    """Those it had an effect on: the others had changed meanwhile, or are part of a flow."""
    stopped: bool = False


def meant(action: str, query: Query) -> Query:
    """The query, held to states that the action can do something with. Raises ConfigError where there are none."""
    states = tuple(state for state in ACTIONS[action].states if not query.states or state in query.states)
    if not states:
        raise ConfigError(f"{action} does nothing to jobs that are {' or '.join(query.states)}")
    return msgspec.structs.replace(query, states=states)


def choose(
    broker: Broker,
    query: Query,
    *,
    to: str = "",
    most: int | None = None,
    look: Callable[[int], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Chosen:
    """All jobs that are found, each once, but for those in queue `to` already; changes nothing.

    Ends early, with those found so far, when there are `most` or `stop()` is true. `look` is told how many more there are.
    """
    chosen, seen = Chosen(), set[str]()
    for jobs in every(broker, query):
        fresh = {job.id: job for job in jobs if job.id not in seen and not (to and job.queue == to)}
        seen |= fresh.keys()
        for job in list(fresh.values())[: None if most is None else most - len(chosen.ids)]:
            chosen.add(job)
        look(len(fresh))
        if stop() or (most is not None and len(chosen.ids) >= most):
            break
    return chosen


def carry_out(
    broker: Broker,
    action: str,
    query: Query,
    ids: Sequence[str],
    *,
    to: str = "",
    advance: Callable[[Done, int], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Done:
    """Do it, batch by batch, until the end or until `stop()`; `advance` gets how far it is, and by how many more.

    Each batch is looked at again just before: what the query does not find any more is left. Jobs that a killed process
    left on their way into another queue are put in first. Raises ConfigError for what is no queue's name.
    """
    its, done = ACTIONS[action], Done()
    if action == "move":
        checked_name(to, "queue")
    if its.packs:
        requeue.resume(broker)
    for begin in range(0, len(ids), BATCH):
        if stop():
            done.stopped = True
            break
        some = ids[begin : begin + BATCH]
        if still := _still(broker, query, some):
            done.done += its.act(broker, still, to)
        done.tried += len(some)
        advance(done, len(some))
    return done


def _still(broker: Broker, query: Query, ids: Sequence[str]) -> list[str]:
    """Those of the jobs that are still meant: minutes may have passed since they were found."""
    try:
        views = broker.inspector.find(ids)
    except Unsupported:  # then there is nothing to compare with; its own calls look at the state
        return list(ids)
    return [view.id for view in views if view is not None and matches(query, view)]
