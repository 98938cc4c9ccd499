"""What can be done: each verb with the role it requires, the question asked before, and the outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from longboat.client import flows
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM, seconds
from longboat.core.job import State
from longboat.core.text import counted
from longboat.dashboard import bulk
from longboat.dashboard.ask import Ask, Refused, Role
from longboat.dashboard.calls import edit, enqueue
from longboat.dashboard.site import Site
from longboat.operate import commands, pauses, requeue, scheduler
from longboat.operate.bulk import by_rule, revoke
from longboat.operate.commands import Command
from longboat.operate.pauses import KINDS, Kind
from longboat.tasks.named import UNTOLD
from longboat.tasks.template import checked_name

PURGED = (State.READY, State.SCHEDULED, State.WAITING, State.DEAD, State.CANCELLED, State.SUCCEEDED)
"""The states that can be purged: all except running."""


class Outcome(msgspec.Struct):
    """What a verb did."""

    message: str
    """One sentence, for people and the audit log."""
    done: int = 1
    path: str = ""
    """The page to go to; empty: back to where it was asked for."""
    id: str = ""
    """Of what was created."""
    ids: Sequence[str] = ()
    """Of the jobs that were changed."""
    recorded: bool = False
    """Whether the audit has it already."""


Act = Callable[[Site, Ask], Outcome]


class Verb(msgspec.Struct, frozen=True):
    role: Role
    act: Act
    fields: dict[str, str]
    """What it needs: name -> meaning."""
    question: Callable[[Site, Ask], str] | None = None
    """Asked on its own page; None: nothing is asked, since it can be undone."""


def _changing(change: Callable[[Site, list[str]], Sequence[str]], became: str) -> Act:
    """Change the jobs with these ids; `change` returns those on which it had an effect."""

    def act(site: Site, ask: Ask) -> Outcome:
        ids = _ids(ask)
        done = len(changed := change(site, ids))
        rest = "" if done == len(ids) else f" of {len(ids)} selected: the others are in another state, or part of a flow"
        gone = became == "deleted" and len(ids) == 1
        return Outcome(f"{_jobs(done)} {became}{rest}", done, path="/jobs" if gone else "", ids=changed)

    return act


def _cancel(site: Site, ask: Ask) -> Outcome:
    outcome = _cancelled(site, ask)
    if not site.can(Capability.CANCEL):
        outcome.message += ", unless it has ended: the first worker to come to it ends it"
    return outcome


def _pausing(paused: bool) -> Act:
    def act(site: Site, ask: Ask) -> Outcome:
        kind: Kind | None = next((kind for kind in KINDS if kind == ask.field("kind", "queue")), None)
        if kind is None:
            raise Refused(400, f"kind is one of {', '.join(KINDS)}.")
        name = pauses.checked(kind, _needed(ask, "name"))
        if paused:
            pauses.check(site.broker, kind)
        changed = pauses.pause(site.broker.kv, kind, name, paused)
        same = "was already paused" if paused else "was not paused"
        return Outcome(f"{kind} {name} {('paused' if paused else 'resumed') if changed else same}", int(changed))

    return act


def _purge(site: Site, ask: Ask) -> Outcome:
    queue, states = checked_name(_needed(ask, "queue"), "queue"), _states(ask)
    total = 0
    while done := site.broker.inspector.purge(states, queue=queue):
        total += done
    return Outcome(f"{_jobs(total)} in queue {queue} deleted", total)


def _purge_question(site: Site, ask: Ask) -> str:
    queue, states = checked_name(_needed(ask, "queue"), "queue"), _states(ask)
    count = sum(site.by_state(queue)[state] or 0 for state in states)
    return f"Delete {_jobs(count)} in queue {queue} ({', '.join(states)}) for good?"


def _flow_cancel(site: Site, ask: Ask) -> Outcome:
    ids = flows.cancel(site.broker, _needed(ask, "id"))
    return Outcome(f"{_jobs(len(ids))} of the flow cancelled", len(ids), ids=ids)


def _flow_retry(site: Site, ask: Ask) -> Outcome:
    broker, flow_id, ids = site.broker, _needed(ask, "id"), list[str]()
    flows.known(broker.kv, flow_id)
    for some in flows.seen(broker, flow_id):
        dead = [each.id for each in some if each.state is State.DEAD]
        ids += broker.inspector.retry(dead) if dead else []
    return Outcome(f"{_jobs(len(ids))} retried: the flow continues from there", len(ids), ids=ids)


def _flow_question(site: Site, ask: Ask) -> str:
    found = flows.status(site.broker, _needed(ask, "id"))
    left = found.unknown + sum(count for state, count in found.jobs.items() if not state.ended)
    known = "that are not known to have ended" if found.unknown else "that have not ended"
    return f"Cancel the {_jobs(left)} of this flow {known}, including running ones?"


def _schedule(change: Callable[[Site, str], str | bool | None], became: str, path: str = "") -> Act:
    """Change the schedule of this name; `change` gives false if there is none, and otherwise perhaps the id of a new job."""

    def act(site: Site, ask: Ask) -> Outcome:
        name = _needed(ask, "name")
        found = change(site, name)
        if not found:
            raise Refused(404, f"There is no schedule {name!r}.")
        job_id = found if isinstance(found, str) else ""
        message = f"schedule {name}{f': job {job_id}' if job_id else ''} {became}"
        return Outcome(message, path=path, id=job_id, ids=[job_id] if job_id else ())

    return act


def _telling(command: Command, becomes: str) -> Act:
    def act(site: Site, ask: Ask) -> Outcome:
        name = _needed(ask, "name")
        if not commands.give(site.broker.kv, name, command):
            raise Refused(404, f"There is no worker {name!r} any more.")
        return Outcome(f"worker {name} {becomes}")

    return act


def _stop_question(site: Site, ask: Ask) -> str:
    name = _needed(ask, "name")
    running = next((len(record.running) for record in site.workers() if record.name == name), 0)
    has = f"Its {_jobs(running)} may finish within its grace period; the rest are handed back." if running else "It is idle."
    return f"Stop worker {name}? {has} It cannot be started again from here."


def _bulk(site: Site, ask: Ask) -> Outcome:
    verb, to = _needed(ask, "verb"), ask.field("to")
    if by_rule(site.broker, verb, query := bulk.meant(verb, ask.field("q"), ask.person.role)):
        return Outcome(revoke(site.broker, query), path="/bulk")
    dry, spread = ask.field("dry") in ("1", "true"), seconds(ask.field("spread") or 0, "spread")
    run = bulk.start(site.broker, ask.by, verb, ask.field("q"), ask.person.role, to=to, spread=spread, dry=dry)
    message = f"{'count of jobs for' if dry else 'bulk'} {run.verb} of {run.query or 'all jobs'} started"
    return Outcome(message, path=f"/bulk/{run.id}", id=run.id, recorded=True)


def _bulk_stop(site: Site, ask: Ask) -> Outcome:
    bulk.stop(site.broker.kv, _needed(ask, "id"))
    return Outcome("told to stop; what was done stays done")


def _enqueue(site: Site, ask: Ask) -> Outcome:
    job_id = enqueue(site, ask)
    untold = "" if site.knows(ask.field("task")) else f"; {UNTOLD}"
    return Outcome(f"job {job_id} enqueued{untold}", path=f"/jobs/{job_id}", id=job_id, ids=[job_id])


def _edit(site: Site, ask: Ask) -> Outcome:
    job_id = edit(site, ask)
    message = f"job {ask.field('id')} enqueued again with other arguments as {job_id}"
    return Outcome(message, path=f"/jobs/{job_id}", id=job_id, ids=[ask.field("id")])


# --- fields


def _needed(ask: Ask, name: str) -> str:
    value = ask.field(name)
    if not value:
        raise Refused(400, f"{name} is missing.")
    return value


def _ids(ask: Ask) -> list[str]:
    ids = list(dict.fromkeys(ask.many("id")))
    if not ids:
        raise Refused(400, "No jobs are selected.", "Select some, or search for jobs and use a bulk action.")
    return ids


def _states(ask: Ask) -> list[State]:
    names = ask.many("state")
    states = [state for state in PURGED if state.value in names]
    if not states:
        raise Refused(400, f"Say which states: {', '.join(PURGED)}.")
    return states


def _jobs(count: int) -> str:
    return counted(count, "job")


_JOB = {"id": "the job's id, or a list of ids"}
_NAME = {"name": "the schedule's name"}
_WORKER = {"name": "the worker's name"}
_PAUSE = {"kind": ", ".join(KINDS), "name": "its name; of a limit its key or a pattern; a search such as args.customer:42"}
_FLOW = {"id": "the flow's id"}
_CALL = {
    "task": "its name",
    "args": "arguments by name or in order, as JSON",
    "queue": "its queue",
    "priority": "higher runs first",
    "delay": "such as 5m",
}
_BULK = {"verb": ", ".join(bulk.VERBS), "q": "a search, as on the page of jobs", "to": "the queue that a move goes to"}
_BULK |= {"spread": "of a retry: a time, such as 10m, over which the jobs come back", "dry": "1: only count them"}

_retry = _changing(lambda site, ids: site.broker.inspector.retry(ids), "retried")
_cancelled = _changing(lambda site, ids: site.broker.inspector.cancel(ids), "cancelled")
_discard = _changing(lambda site, ids: requeue.discard(site.broker, ids), "deleted")
_pause = _schedule(lambda site, name: scheduler.pause(site.broker.kv, name, True, SYSTEM.now()), "paused")
_resume = _schedule(lambda site, name: scheduler.pause(site.broker.kv, name, False, SYSTEM.now()), "resumed")
_run = _schedule(lambda site, name: scheduler.run_now(site.broker, name, SYSTEM.now()), "enqueued")
_remove = _schedule(lambda site, name: scheduler.remove(site.broker.kv, name), "removed", "/schedules")

VERBS: dict[str, Verb] = {
    "retry": Verb(Role.OPERATOR, _retry, _JOB),
    "cancel": Verb(Role.OPERATOR, _cancel, _JOB),
    "discard": Verb(Role.ADMIN, _discard, _JOB, lambda _, ask: f"Delete {_jobs(len(_ids(ask)))} for good?"),
    "edit": Verb(Role.OPERATOR, _edit, {"id": "the job's id", "args": "all arguments, as JSON"}),
    "enqueue": Verb(Role.OPERATOR, _enqueue, _CALL),
    "pause": Verb(Role.OPERATOR, _pausing(True), _PAUSE),
    "resume": Verb(Role.OPERATOR, _pausing(False), _PAUSE),
    "purge": Verb(Role.ADMIN, _purge, {"queue": "its name", "state": "a state, or a list of states"}, _purge_question),
    "flow-cancel": Verb(Role.OPERATOR, _flow_cancel, _FLOW, _flow_question),
    "flow-retry": Verb(Role.OPERATOR, _flow_retry, _FLOW),
    "schedule-pause": Verb(Role.OPERATOR, _pause, _NAME),
    "schedule-resume": Verb(Role.OPERATOR, _resume, _NAME),
    "schedule-run": Verb(Role.OPERATOR, _run, _NAME),
    "schedule-remove": Verb(Role.ADMIN, _remove, _NAME, lambda _, ask: f"Remove schedule {_needed(ask, 'name')}?"),
    "worker-quiet": Verb(Role.OPERATOR, _telling(Command.QUIET, "takes no more jobs"), _WORKER),
    "worker-resume": Verb(Role.OPERATOR, _telling(Command.RESUME, "takes jobs again"), _WORKER),
    "worker-stop": Verb(Role.OPERATOR, _telling(Command.STOP, "is stopping"), _WORKER, _stop_question),
    "worker-stacks": Verb(Role.OPERATOR, _telling(Command.STACKS, "is asked where its jobs are"), _WORKER),
    "bulk": Verb(Role.OPERATOR, _bulk, _BULK),
    "bulk-stop": Verb(Role.OPERATOR, _bulk_stop, {"id": "the bulk action's id"}),
}
