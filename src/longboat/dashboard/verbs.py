"""What can be done: each verb with the role it takes, the question that is asked before, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from longboat.client import flows
from longboat.contract.broker import Broker
from longboat.core.clock import SYSTEM
from longboat.core.job import State, new_id
from longboat.dashboard import bulk
from longboat.dashboard.ask import Ask, Refused, Role
from longboat.dashboard.calls import edit, enqueue
from longboat.dashboard.site import Site
from longboat.operate import commands, pauses, requeue, scheduler
from longboat.operate.commands import Command
from longboat.operate.pauses import Kind
from longboat.tasks.template import checked_name

PURGED = (State.READY, State.SCHEDULED, State.WAITING, State.DEAD, State.CANCELLED, State.SUCCEEDED)
"""What can be purged: what does not run."""


class Outcome(msgspec.Struct):
    """What came of it."""

    said: str
    """One sentence, for people and the audit log."""
    done: int = 1
    path: str = ""
    """The page to go to; empty: where it was asked for."""
    id: str = ""
    """Of what was made."""


class Verb(msgspec.Struct, frozen=True):
    role: Role
    act: Callable[[Site, Ask], Outcome]
    fields: dict[str, str]
    """What it needs to know: name -> meaning."""
    question: Callable[[Site, Ask], str] | None = None
    """What is asked on a page of its own; None: nothing, it can be undone."""


def retry(site: Site, ask: Ask) -> Outcome:
    ids = _ids(ask)
    done = len(site.broker.inspector.retry(ids))
    return Outcome(f"{_jobs(done)} ready again{_of(done, ids)}", done)


def cancel(site: Site, ask: Ask) -> Outcome:
    ids = _ids(ask)
    done = len(site.broker.inspector.cancel(ids))
    return Outcome(f"{_jobs(done)} cancelled{_of(done, ids)}", done)


def discard(site: Site, ask: Ask) -> Outcome:
    ids = _ids(ask)
    done = requeue.discard(site.broker, ids)
    return Outcome(f"{_jobs(done)} deleted{_of(done, ids)}", done, path="/jobs" if len(ids) == 1 else "")


def _pausing(paused: bool) -> Callable[[Site, Ask], Outcome]:
    def act(site: Site, ask: Ask) -> Outcome:
        kind: Kind = "task" if ask.field("kind") == "task" else "queue"
        name = checked_name(_needed(ask, "name"), kind)
        changed = pauses.pause(site.broker.kv, kind, name, paused)
        word = "is paused" if paused else "goes on"
        return Outcome(f"{kind} {name} {word}{'' if changed else ' already'}", int(changed))

    return act


def _purge(site: Site, ask: Ask) -> Outcome:
    queue, states = checked_name(_needed(ask, "queue"), "queue"), _states(ask)
    total = 0
    while done := site.broker.inspector.purge(states, queue=queue):
        total += done
    return Outcome(f"{_jobs(total)} of queue {queue} deleted", total)


def _purge_question(site: Site, ask: Ask) -> str:
    queue, states = checked_name(_needed(ask, "queue"), "queue"), _states(ask)
    count = sum(site.by_state(queue)[state] for state in states)
    return f"Delete {_jobs(count)} of queue {queue} ({', '.join(states)}) for good?"


def _flow_cancel(site: Site, ask: Ask) -> Outcome:
    done = flows.cancel(site.broker, _needed(ask, "id"))
    return Outcome(f"{_jobs(done)} of the flow cancelled", done)


def _flow_retry(site: Site, ask: Ask) -> Outcome:
    broker: Broker = site.broker
    flow_id, done = _needed(ask, "id"), 0
    flows.plan(broker.kv, flow_id)
    for some in flows.members(broker.kv, flow_id):
        dead = [view.id for view in broker.inspector.find([each for each, _ in some]) if view and view.state is State.DEAD]
        done += len(broker.inspector.retry(dead)) if dead else 0
    return Outcome(f"{_jobs(done)} ready again: the flow goes on from there", done)


def _schedule_pause(paused: bool) -> Callable[[Site, Ask], Outcome]:
    def act(site: Site, ask: Ask) -> Outcome:
        name = _needed(ask, "name")
        if not scheduler.pause(site.broker.kv, name, paused, SYSTEM.now()):
            raise Refused(404, f"There is no schedule {name!r}.")
        return Outcome(f"schedule {name} {'is paused' if paused else 'goes on'}")

    return act


def _schedule_run(site: Site, ask: Ask) -> Outcome:
    name = _needed(ask, "name")
    found = scheduler.get(site.broker.kv, name)
    if found is None:
        raise Refused(404, f"There is no schedule {name!r}.")
    job = found.job(SYSTEM.now())
    job.id = new_id()
    site.broker.put([job])
    return Outcome(f"schedule {name}: job {job.id} enqueued", id=job.id)


def _schedule_remove(site: Site, ask: Ask) -> Outcome:
    name = _needed(ask, "name")
    if not scheduler.remove(site.broker.kv, name):
        raise Refused(404, f"There is no schedule {name!r}.")
    return Outcome(f"schedule {name} removed", path="/schedules")


def _telling(command: Command, becomes: str) -> Callable[[Site, Ask], Outcome]:
    def act(site: Site, ask: Ask) -> Outcome:
        name = _needed(ask, "name")
        if not commands.give(site.broker.kv, name, command):
            raise Refused(404, f"There is no worker {name!r} any more.")
        return Outcome(f"worker {name} {becomes}")

    return act


def _stop_question(site: Site, ask: Ask) -> str:
    name = _needed(ask, "name")
    running = next((len(record.running) for record in site.workers() if record.name == name), 0)
    rest = f"The {_jobs(running)} it runs may finish within its grace; what does not goes back." if running else ""
    return f"Stop worker {name}? {rest or 'It runs nothing now.'} It cannot be started again from here."


def _bulk(site: Site, ask: Ask) -> Outcome:
    verb, to = _needed(ask, "verb"), ask.field("to")
    run = bulk.start(site.broker, ask.person.name, verb, ask.field("q"), ask.person.role, to)
    return Outcome(f"bulk {run.verb} of {run.query or 'all jobs'} begun", path=f"/bulk/{run.id}", id=run.id)


def _bulk_stop(site: Site, ask: Ask) -> Outcome:
    bulk.stop(site.broker.kv, _needed(ask, "id"))
    return Outcome("told to stop; what was done stays done")


def _enqueue(site: Site, ask: Ask) -> Outcome:
    job_id = enqueue(site, ask)
    return Outcome(f"job {job_id} enqueued", path=f"/jobs/{job_id}", id=job_id)


def _edit(site: Site, ask: Ask) -> Outcome:
    job_id = edit(site, ask)
    return Outcome(f"job {ask.field('id')} retried with other arguments as {job_id}", path=f"/jobs/{job_id}", id=job_id)


# --- fields


def _needed(ask: Ask, name: str) -> str:
    value = ask.field(name)
    if not value:
        raise Refused(400, f"{name} is missing.")
    return value


def _ids(ask: Ask) -> list[str]:
    ids = list(dict.fromkeys(ask.many("id")))
    if not ids:
        raise Refused(400, "No job was chosen.", "Tick some, or search for those that are meant and use a bulk action.")
    return ids


def _states(ask: Ask) -> list[State]:
    names = ask.many("state")
    states = [state for state in PURGED if state.value in names]
    if not states:
        raise Refused(400, f"Say which states: {', '.join(PURGED)}.")
    return states


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"


def _of(done: int, ids: list[str]) -> str:
    return "" if done == len(ids) else f" of {len(ids)} chosen: the others are in another state, or part of a flow"


def _discard_question(_: Site, ask: Ask) -> str:
    return f"Delete {_jobs(len(_ids(ask)))} for good?"


def _flow_question(site: Site, ask: Ask) -> str:
    found = flows.status(site.broker, _needed(ask, "id"))
    left = sum(count for state, count in found.jobs.items() if not state.ended)
    return f"Cancel the {_jobs(left)} of this flow that have not ended, also those that run?"


_JOB = {"id": "the job's id; several are possible"}
_NAME = {"name": "the schedule's name"}
_WORKER = {"name": "the worker's name"}
_PAUSE = {"kind": '"queue" or "task"', "name": "its name"}

VERBS: dict[str, Verb] = {
    "retry": Verb(Role.OPERATOR, retry, _JOB),
    "cancel": Verb(Role.OPERATOR, cancel, _JOB),
    "discard": Verb(Role.ADMIN, discard, _JOB, _discard_question),
    "edit": Verb(Role.OPERATOR, _edit, {"id": "the job's id", "args": "all arguments, as JSON"}),
    "enqueue": Verb(
        Role.OPERATOR,
        _enqueue,
        {"task": "its name", "args": "arguments by name or in order, as JSON", "queue": "…", "priority": "…", "delay": "…"},
    ),
    "pause": Verb(Role.OPERATOR, _pausing(True), _PAUSE),
    "resume": Verb(Role.OPERATOR, _pausing(False), _PAUSE),
    "purge": Verb(Role.ADMIN, _purge, {"queue": "its name", "state": "of which states; several"}, _purge_question),
    "flow-cancel": Verb(Role.OPERATOR, _flow_cancel, {"id": "the flow's id"}, _flow_question),
    "flow-retry": Verb(Role.OPERATOR, _flow_retry, {"id": "the flow's id"}),
    "schedule-pause": Verb(Role.OPERATOR, _schedule_pause(True), _NAME),
    "schedule-resume": Verb(Role.OPERATOR, _schedule_pause(False), _NAME),
    "schedule-run": Verb(Role.OPERATOR, _schedule_run, _NAME),
    "schedule-remove": Verb(Role.ADMIN, _schedule_remove, _NAME, lambda _, ask: f"Remove schedule {_needed(ask, 'name')}?"),
    "worker-quiet": Verb(Role.OPERATOR, _telling(Command.QUIET, "takes no more jobs"), _WORKER),
    "worker-resume": Verb(Role.OPERATOR, _telling(Command.RESUME, "takes jobs again"), _WORKER),
    "worker-stop": Verb(Role.OPERATOR, _telling(Command.STOP, "stops"), _WORKER, _stop_question),
    "bulk": Verb(
        Role.OPERATOR,
        _bulk,
        {"verb": ", ".join(bulk.VERBS), "q": "a search, as on the page of jobs", "to": "the queue that a move goes to"},
    ),
    "bulk-stop": Verb(Role.OPERATOR, _bulk_stop, {"id": "the bulk action's id"}),
}
