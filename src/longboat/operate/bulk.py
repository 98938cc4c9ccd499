"""Changing all jobs that a search finds: which ones, how many of what kind, and then batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability, keepers
from longboat.contract.optional import revokes_all
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import ConfigError, Unsupported
from longboat.operate import requeue
from longboat.operate.search import Query, every, matches
from longboat.tasks.template import checked_name

BATCH = 200
"""Jobs of one call: between two calls it can be stopped."""


class Action(msgspec.Struct, frozen=True):
    """A change to many jobs."""

    states: tuple[State, ...]
    """The states it applies to, in the order in which jobs go through them: a job that moves on meanwhile is met again."""
    act: Callable[[Broker, Sequence[str], str], Sequence[str]]
    """(broker, ids, the queue that a move goes to) -> the ids of the jobs that it changed."""
    exports: bool = False
    """Whether jobs are taken out of the broker for it."""


_IDLE = (State.SCHEDULED, State.WAITING, State.READY)
ACTIONS = {
    "retry": Action((State.DEAD,), lambda broker, ids, _: broker.inspector.retry(ids)),
    "cancel": Action((*_IDLE, State.RUNNING), lambda broker, ids, _: broker.inspector.cancel(ids)),
    "discard": Action((*_IDLE, State.DEAD), lambda broker, ids, _: requeue.discard(broker, ids), exports=True),
    "move": Action((*_IDLE, State.DEAD), requeue.requeue, exports=True),
}
"""Discard and move skip jobs of flows."""


class Chosen(msgspec.Struct):
    """The jobs to be changed."""

    ids: list[str] = []
    by: Counter[tuple[State, str]] = msgspec.field(default_factory=Counter)
    """How many by state and task."""

    def add(self, job: JobView) -> None:
        self.ids.append(job.id)
        self.by[job.state, job.task] += 1


class Progress(msgspec.Struct):
    """How far a bulk action is."""

    tried: int = 0
    done: int = 0
    """Jobs it changed: the others had changed in the meantime, or are part of a flow."""
    stopped: bool = False
    changed: Sequence[str] = ()
    """Ids of the jobs that the last batch changed."""


def meant(action: str, query: Query) -> Query:
    """The query, narrowed to states that the action applies to. Raises ConfigError if there are none."""
    states = tuple(state for state in ACTIONS[action].states if not query.states or state in query.states)
    if not states:
        raise ConfigError(f"{action} does not apply to jobs that are {' or '.join(query.states)}")
    return msgspec.structs.replace(query, states=states)


def by_rule(broker: Broker, action: str, query: Query) -> bool:
    """Whether this is done by a rule that workers keep, since the broker finds no jobs: `revoke`.

    Raises Unsupported for a search that no rule can say.
    """
    if action != "cancel" or revokes_all(broker) is None:
        return False
    said = [word for word in query.words if word != "state"]
    if not said or not set(said) <= {"queue", "task"} or query.texts or set(query.states) != set(ACTIONS[action].states):
        raise Unsupported(
            "this broker finds no queued jobs, so many are cancelled by a rule that workers keep: name a queue, a task or "
            f"both, and nothing else, or single jobs by their ids (`longboat cancel ID`). Brokers that find them: "
            f"{keepers(Capability.LISTS)}"
        )
    return True


def revoke(broker: Broker, query: Query) -> str:
    """Cancel all jobs of the query's queue and task that were enqueued before now; what was done, as a sentence."""
    if (revokes := revokes_all(broker)) is not None:
        revokes.revoke_all(query.queue, query.task)
    return f"all {said(query)} are cancelled: the first worker to come to each ends it, and running ones are told to stop"


def said(query: Query) -> str:
    """Which jobs a rule is about."""
    named = [f"{word} {value}" for word, value in (("queue", query.queue), ("task", query.task)) if value]
    return f"jobs of {' and '.join(named)} that were enqueued before now"


def check(broker: Broker, action: str, spread: float = 0.0) -> None:
    """Raises Unsupported where the broker cannot do this to single jobs, or cannot spread it over a time."""
    if spread and Capability.TRANSFER not in broker.capabilities:
        raise Unsupported(
            "this broker cannot spread retries over a time: it takes no single dead job out of its queue. Brokers that can: "
            f"{keepers(Capability.TRANSFER)}"
        )
    if ACTIONS[action].exports and Capability.TRANSFER not in broker.capabilities:
        verb = "delete" if action == "discard" else action
        advice = "\n`longboat dead purge --queue NAME`, or --all, deletes dead ones; `longboat purge` ready ones as well."
        cannot = f"this broker cannot {verb} single jobs. Brokers that can: {keepers(Capability.TRANSFER)}"
        raise Unsupported(cannot + (advice if action == "discard" else ""))


def choose(
    broker: Broker,
    query: Query,
    *,
    to: str = "",
    most: int | None = None,
    look: Callable[[int], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Chosen:
    """All jobs that the query finds, each once, except those in queue `to` already. Changes nothing.

    Ends early, with the jobs found so far, when there are `most` or when `stop()` is true. `look` is told how many more
    were found.
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
    spread: float = 0.0,
    advance: Callable[[Progress, int], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Change the jobs batch by batch until the end, or until `stop()`. `advance` gets the progress and the batch's size.

    `spread`: seconds from now over which retried jobs come back, evenly and in the order of `ids`. They are scheduled jobs
    until then, so nothing needs to go on running; those of flows come back at once.

    Each batch is looked up again just before its turn: a job that the query no longer finds is skipped. Jobs that a killed
    process left in transfer to another queue are imported first. Raises ConfigError if `to` is not a valid queue name.
    """
    its, done = ACTIONS[action], Progress()
    if action == "move":
        checked_name(to, "queue")
    if its.exports or spread:
        requeue.resume(broker)
    begun, turn = SYSTEM.monotonic(), {job_id: place / len(ids) for place, job_id in enumerate(ids)} if spread else {}
    for begin in range(0, len(ids), BATCH):
        if stop():
            done.stopped = True
            break
        some = ids[begin : begin + BATCH]
        still = _still(broker, query, some)
        if spread:
            passed = SYSTEM.monotonic() - begun
            delays = {job_id: max(0.0, spread * turn[job_id] - passed) for job_id in still}
            done.changed = requeue.retry_later(broker, delays)
        else:
            done.changed = its.act(broker, still, to) if still else ()
        done.done += len(done.changed)
        done.tried += len(some)
        advance(done, len(some))
    return done


def _still(broker: Broker, query: Query, ids: Sequence[str]) -> list[str]:
    """Those of the jobs that the query still finds: minutes may have passed since they were chosen."""
    try:
        views = broker.inspector.find(ids)
    except Unsupported:  # nothing to compare with; the broker's own calls check the state
        return list(ids)
    return [view.id for view in views if view is not None and matches(query, view)]
