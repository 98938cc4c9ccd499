"""Jobs enqueued from a page: a call of a task by a form, or a job again with other arguments."""

from __future__ import annotations

import json
from inspect import Parameter
from typing import Any

import msgspec

from longboat.client.client import check_size
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints
from longboat.core.job import MESSAGE_VERSION, Job, new_id
from longboat.dashboard.ask import Ask, Refused
from longboat.dashboard.plain import MASK, unmasked
from longboat.dashboard.site import Site
from longboat.errors import BadArguments, Undecodable
from longboat.operate.unique import put_one
from longboat.tasks.record import annotation_text
from longboat.tasks.task import Task
from longboat.tasks.template import checked_name


class Blank(msgspec.Struct):
    """One field of a form for a task's arguments."""

    name: str
    kind: str
    """The annotation, as written in the code."""
    default: str
    """As JSON; empty if it must be given."""
    needed: bool


def blanks(task: Task[..., Any]) -> list[Blank] | None:
    """The fields for a task's parameters; None if they cannot all be given by name."""
    found = []
    for parameter in task.arguments.parameters.values():
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            return None
        needed, kind = parameter.default is Parameter.empty, annotation_text(parameter.annotation)
        found.append(Blank(parameter.name, kind, "" if needed else _json(parameter.default), needed))
    return found


def enqueue(site: Site, ask: Ask) -> str:
    """Enqueue the call in a form; returns the job's id. Raises Refused, ConfigError or BadArguments."""
    task = site.task(checked_name(ask.field("task"), "task"))
    args, kwargs = _arguments(ask, task)
    made = task.using(queue=ask.field("queue") or task.template.queue, delay=ask.field("delay") or 0)
    if priority := ask.field("priority"):
        made = made.using(priority=_whole(priority))
    handle = made.enqueue(*args, **kwargs)
    return _made(handle.id, new=handle.new)


def edit(site: Site, ask: Ask) -> str:
    """A new job like the one of this id, with other arguments; returns its id. Raises Refused."""
    view = site.broker.inspector.find([ask.field("id")])[0]
    if view is None:
        raise Refused(404, f"There is no job {ask.field('id')!r} any more.")
    value = _read_json(ask.field("args"))
    if not isinstance(value, dict):
        raise Refused(400, "Arguments must be a JSON object, from name to value.", 'Put unnamed ones in a list under "*".')
    try:
        value = unmasked(value, codec.decode(view.payload))
    except Undecodable:
        if MASK in ask.field("args"):
            raise Refused(400, "Masked values cannot be kept, because the old arguments cannot be decoded.") from None
    payload = codec.encode(value)
    here = site.registry.get(view.task)
    if here is not None:
        try:
            here.arguments.decode(payload)
        except Undecodable as error:
            raise BadArguments(str(error)) from None
    job = Job(MESSAGE_VERSION, new_id(), view.task, payload, view.queue, view.priority, enqueued=SYSTEM.now())
    job.headers = {**view.headers, "edited": view.id}
    key = None
    if site.knows(view.task):
        task = site.task(view.task)
        job.expires, job.keep, key = task.template.expires, task.template.keep, task.rule(job)
    elif view.constraints is not None and (view.constraints.limits or view.constraints.fairness_key):
        job.constraints = Constraints(limits=view.constraints.limits, fairness_key=view.constraints.fairness_key)
    check_size(job)
    new = put_one(site.broker, job, key)
    return _made(job.id, new=new)


def _made(job_id: str, *, new: bool) -> str:
    """The id of a job that was asked for. Raises Refused if another one stands for it."""
    if not new:
        raise Refused(409, f"Job {job_id} stands for these arguments already: the task is unique.", "Look at that one.")
    return job_id


def _arguments(ask: Ask, task: Task[..., Any]) -> tuple[list[Any], dict[str, Any]]:
    text = ask.field("args").strip()
    if text:
        value = _read_json(text)
        if isinstance(value, list):
            return value, {}
        if isinstance(value, dict):
            return [], value
        raise Refused(400, "Arguments must be a JSON list, or a JSON object from name to value.")
    kwargs = {}
    for blank in blanks(task) or []:
        given = ask.field(f"arg.{blank.name}")
        if given or (blank.needed and f"arg.{blank.name}" in ask.form):
            kwargs[blank.name] = given if blank.kind == "str" else _value(given)
    return [], kwargs


def _value(text: str) -> Any:
    """JSON if it is JSON, else the text: nobody wants to type quotes."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The arguments are not JSON: {error}.") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Refused(400, f"priority: {text!r} is not a whole number.") from None


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
