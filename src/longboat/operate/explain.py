"""Why a job is not running, in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.text import counted
from longboat.core.views import JobView, LimitView
from longboat.errors import Unsupported
from longboat.observe.history import workers
from longboat.observe.words import span
from longboat.operate import audit, misfits, traces
from longboat.operate.pauses import Kind, nothing, paused, rules, said
from longboat.operate.traces import Trace

COUNTED = 1000
"""Jobs ahead of this one that are counted, at most."""
QUEUES = 20
"""Queues that are told of where nobody knows which one the job is in."""


def explain(broker: Broker, job_id: str, address: str = "", *, thorough: bool = False) -> str | None:
    """Why the job is in its state; None for an unknown job.

    `address`: the broker's, without its secrets, for whoever may have meant another one. `thorough`: where jobs cannot be
    looked up, look for this one among the dead ones, which may take a second or two. Raises Unsupported where nothing is
    kept but jobs that cannot be looked up.
    """
    there = f" at {address}" if address else ""
    try:
        view = broker.inspector.find([job_id])[0]
    except Unsupported as error:
        if Capability.KV not in broker.capabilities:
            raise  # nothing is told of any job
        found = traces.trace(broker, job_id)
        if found.worker or found.revoked:
            return "; ".join([*_traced(found), *_acts(broker, job_id)])
        view = next(iter(traces.dead(broker, [job_id])), None) if thorough else None
        if view is None:
            unknown = f"whether it is queued, is delayed or has ended is not known: {error}"
            return "; ".join([*_traced(found), *_queues(broker, found, there), unknown])
    return None if view is None else "; ".join(_reasons(broker, view, there))


def _traced(found: Trace) -> Iterator[str]:
    """What is known of a job that cannot be looked up."""
    revoked = found.revoked
    if found.worker:
        yield f"it is running on {found.worker}{_since(found.started, ' for {}')}"
        if revoked:
            yield f"it was cancelled{_since(revoked.at)}, and its worker is told to stop it"
        return
    if revoked:
        became = "and has ended" if revoked.ended else "and the first worker to come to it ends it, unless it has ended"
        yield f"it was cancelled{_since(revoked.at)}, {became}"
        return
    if found.unknown:
        yield f"it waits for a worker that knows task {found.unknown.task}, and none that lives does"
    if found.misfit:
        yield f"it waits for a worker whose version of the task it fits: {found.misfit}"
    if failure := found.failure:
        yield f"an attempt of it failed{_since(failure.last)}: {failure.type}: {failure.message}"


def _queues(broker: Broker, found: Trace, there: str) -> Iterator[str]:
    """What keeps the jobs of each queue, where nobody knows which one it is in."""
    stopped = _paused(broker)
    try:
        counts, records = broker.inspector.counts(), workers(broker.kv)
    except Unsupported:
        return
    queues = sorted({queue for queue, _ in counts} | {queue for record in records for queue in record.queues})
    queues = [found.unknown.queue] if found.unknown else queues
    for queue in queues[:QUEUES]:
        states = [record.state for record in records if queue in record.queues]
        told = [f"{counts[queue, state]:,} {state}" for state in (State.READY, State.RUNNING) if counts.get((queue, state))]
        told += ["paused"] if queue in stopped["queue"] else []
        told.append(serving(states) if states else f"no living worker{there}")
        yield f"queue {queue}: {', '.join(told)}"
    if tasks := stopped["task"]:
        yield f"paused tasks: {', '.join(sorted(tasks))}"
    yield from (rule.said for rule in rules(stopped))


def serving(states: Sequence[str]) -> str:
    """How many workers, by their states."""
    workers, quiet = counted(len(states), "worker"), states.count("quiet")
    if quiet == len(states):
        return f"{workers} but quiet: told to take no more jobs"
    return f"{workers}, {quiet} of them quiet" if quiet else workers


def _reasons(broker: Broker, view: JobView, there: str) -> Iterator[str]:
    last = view.failures[-1] if view.failures else None
    match view.state:
        case State.RUNNING:
            yield f"it is running on {view.worker or 'a worker'}{_since(view.started, ' for {}')}"
        case State.SCHEDULED:
            after = f", after attempt {view.attempts} failed ({last.type})" if last else ""
            yield f"it is scheduled{_until(view.due, ' to run')}{after}"
        case State.WAITING:
            yield from _waiting(broker, view, there)
        case State.READY:
            yield from _ready(broker, view, there)
        case State.SUCCEEDED:
            yield f"it succeeded{_since(view.ended)}"
        case State.DEAD | State.CANCELLED:
            became = "died" if view.state is State.DEAD else "was cancelled"
            attempts = counted(view.attempts, "attempt")
            yield f"it {became}{_since(view.ended)}, after {attempts}{f': {last.type}: {last.message}' if last else ''}"
    yield from _acts(broker, view.id)


def _acts(broker: Broker, job_id: str) -> Iterator[str]:
    """What people did to it last."""
    if Capability.KV in broker.capabilities:
        for act in audit.of_job(broker.kv, job_id)[-1:]:
            yield f"{act.became} by {act.by}{_since(act.at)}{f': {act.reason}' if act.reason else ''}"


def _waiting(broker: Broker, view: JobView, there: str) -> Iterator[str]:
    parents = list(_unfinished(broker, view))
    if parents:
        first = next((parent for parent in parents if parent.state in (State.DEAD, State.CANCELLED)), parents[0])
        if first.state is State.DEAD:
            yield f"it is waiting for {first.task} {first.id}, which is dead: retry that one"
        elif first.state is State.CANCELLED:
            yield f"it is waiting for {first.task} {first.id}, which was cancelled: cancel this one too"
        else:
            others = f" and {len(parents) - 1} more" if len(parents) > 1 else ""
            yield f"it is waiting for {first.task} {first.id} ({first.state.value}){others}"
        return
    reached = list(_reached(broker, view))
    if reached:
        yield from reached
    elif stopped := said(_paused(broker), view):
        yield from stopped
    elif why := misfits.reason(broker.kv, view.id):
        yield f"it waits for a worker whose version of the task it fits: {why}"
    else:
        yield f"no living worker of queue {view.queue} knows task {view.task}{there}"


def _ready(broker: Broker, view: JobView, there: str) -> Iterator[str]:
    stopped = _paused(broker)
    yield from said(stopped, view)
    serving = served(broker, view.queue)
    if not serving:
        yield f"no living worker serves queue {view.queue}{there}"
    page = broker.inspector.jobs(State.READY, queue=view.queue, limit=COUNTED)
    ahead = next((n for n, job in enumerate(page.jobs) if job.id == view.id), None)
    if ahead is None:
        yield f"it is ready, behind at least {COUNTED:,} jobs in queue {view.queue}"
    elif ahead:
        yield f"it is ready, behind {counted(ahead, 'job')} in queue {view.queue}"
    elif serving and view.queue not in stopped["queue"]:
        yield "it is ready, and next in its queue"
    yield from _reached(broker, view)


def served(broker: Broker, queue: str) -> bool:
    """Whether a living worker serves the queue. Raises Unsupported where the broker does not know its workers."""
    return any(not each.queues or queue in each.queues for each in broker.inspector.consumers())


def unserved(broker: Broker, there: str = "") -> str:
    """That no living worker serves queues with ready jobs, where it is not known which one a job is in; else empty."""
    queues = {queue for record in workers(broker.kv) for queue in record.queues}
    waiting = [queue for (queue, state), count in broker.inspector.counts().items() if state is State.READY and count]
    if alone := [f"queue {queue}" for queue in sorted(waiting) if queue not in queues]:
        return f"no living worker serves {', '.join(alone[:QUEUES])}, where jobs are ready{there}"
    return ""


def _unfinished(broker: Broker, view: JobView) -> Iterator[JobView]:
    after = view.constraints.after if view.constraints else []
    for start in range(0, len(after), COUNTED):
        for parent in broker.inspector.find(after[start : start + COUNTED]):
            if parent is not None and parent.state is not State.SUCCEEDED:
                yield parent


def _reached(broker: Broker, view: JobView) -> Iterator[str]:
    """A sentence for each of the job's limits that jobs are waiting at."""
    keys = [limit.key for limit in view.constraints.limits] if view.constraints else []
    yield from (limit_now(limit) for limit in broker.inspector.limits(keys) if limit and limit.waiting) if keys else ()


def limit_now(limit: LimitView) -> str:
    """The limit, in words: who runs, how many wait, when it opens."""
    held = f" ({', '.join(limit.holders[:3])}{' …' if limit.running > 3 else ''})" if limit.holders else ""
    opens = _until(limit.opens, ", open")
    how = "is reached" if limit.running or opens else "has room"  # until those it held have come back to their queue
    return f"limit {limit.key} {how}: {limit.running:,} running{held}, {limit.waiting:,} waiting{opens}"


def _paused(broker: Broker) -> dict[Kind, set[str]]:
    try:
        return paused(broker.kv)
    except Unsupported:
        return nothing()


def _until(at: float | None, what: str = "") -> str:
    return "" if at is None else f"{what} in {span(at - SYSTEM.now())}"


def _since(at: float | None, words: str = " {} ago") -> str:
    return "" if at is None else words.format(span(SYSTEM.now() - at))
