"""Why a job is not running, in one line."""

from __future__ import annotations

from collections.abc import Iterator

from longboat.contract.broker import Broker
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView, LimitView
from longboat.errors import Unsupported
from longboat.operate.pauses import Kind, paused

LOOKED_AT = 1000
"""Jobs that are counted before this one, at most."""


def explain(broker: Broker, job_id: str) -> str | None:
    """Why the job is where it is; None for one that is not known."""
    view = broker.inspector.find([job_id])[0]
    return None if view is None else "; ".join(_reasons(broker, view))


def _reasons(broker: Broker, view: JobView) -> Iterator[str]:
    match view.state:
        case State.RUNNING:
            yield f"it runs: leased by {view.worker or 'a worker'}{_ago(view.started)}"
        case State.SCHEDULED:
            last = f", after attempt {view.attempts} failed ({view.failures[-1].type})" if view.failures else ""
            yield f"it is scheduled{_until(view.due)}{last}"
        case State.WAITING:
            yield from _waiting(broker, view)
        case State.READY:
            yield from _ready(broker, view)
        case State.SUCCEEDED:
            yield f"it succeeded{_ago(view.ended)}"
        case State.DEAD | State.CANCELLED:
            last = f": {view.failures[-1].type}: {view.failures[-1].message}" if view.failures else ""
            became = "died" if view.state is State.DEAD else "was cancelled"
            yield f"it {became}{_ago(view.ended)}, after {view.attempts} attempt(s){last}"


def _waiting(broker: Broker, view: JobView) -> Iterator[str]:
    parents = list(_unfinished(broker, view))
    if parents:
        failed = [parent for parent in parents if parent.state in (State.DEAD, State.CANCELLED)]
        if failed:
            yield f"it waits for {failed[0].task} {failed[0].id}, which is {failed[0].state.value}: revive that one"
        else:
            others = f" and {len(parents) - 1} more" if len(parents) > 1 else ""
            yield f"it waits for {parents[0].task} {parents[0].id} ({parents[0].state.value}){others}"
        return
    shut = [_shut(limit) for limit in _limits(broker, view) if limit.waiting]
    if shut:
        yield from shut
    elif view.task in _paused(broker)["task"]:
        yield f"task {view.task} is paused"
    else:
        yield f"no living worker of queue {view.queue} knows task {view.task}"


def _ready(broker: Broker, view: JobView) -> Iterator[str]:
    stopped = _paused(broker)
    if view.queue in stopped["queue"]:
        yield f"queue {view.queue} is paused"
    if view.task in stopped["task"]:
        yield f"task {view.task} is paused"
    serving = [each for each in broker.inspector.consumers() if not each.queues or view.queue in each.queues]
    if not serving:
        yield f"no living worker serves queue {view.queue}"
    page = broker.inspector.jobs(State.READY, queue=view.queue, limit=LOOKED_AT)
    ahead = next((n for n, job in enumerate(page.jobs) if job.id == view.id), None)
    if ahead is None:
        yield f"it is ready behind {LOOKED_AT:,} jobs or more of queue {view.queue}"
    elif ahead:
        yield f"it is ready behind {ahead:,} of queue {view.queue}"
    elif serving and view.queue not in stopped["queue"]:
        yield "it is ready, and the next of its queue"
    yield from (_shut(limit) for limit in _limits(broker, view) if limit.waiting)


def _unfinished(broker: Broker, view: JobView) -> Iterator[JobView]:
    after = view.constraints.after if view.constraints else []
    for start in range(0, len(after), LOOKED_AT):
        for parent in broker.inspector.find(after[start : start + LOOKED_AT]):
            if parent is not None and parent.state is not State.SUCCEEDED:
                yield parent


def _limits(broker: Broker, view: JobView) -> Iterator[LimitView]:
    keys = [limit.key for limit in view.constraints.limits] if view.constraints else []
    yield from (limit for limit in broker.inspector.limits(keys) if limit is not None) if keys else ()


def _shut(limit: LimitView) -> str:
    held = f", held by {', '.join(limit.holders[:3])}{' …' if limit.running > 3 else ''}" if limit.holders else ""
    opens = f", opens {_until(limit.opens).strip()}" if limit.opens is not None else ""
    return f"limit {limit.key} lets no more in: {limit.running} running{held}{opens}, {limit.waiting} waiting"


def _paused(broker: Broker) -> dict[Kind, set[str]]:
    try:
        return paused(broker.kv)
    except Unsupported:
        return {"queue": set(), "task": set()}


def _until(at: float | None) -> str:
    return "" if at is None else f" for {_span(at - SYSTEM.now())} from now"


def _ago(at: float | None) -> str:
    return "" if at is None else f" {_span(SYSTEM.now() - at)} ago"


def _span(length: float) -> str:
    length = max(0.0, length)
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if length >= 2 * size:
            return f"{length / size:.0f} {unit}"
    return f"{length:.1f} s"
