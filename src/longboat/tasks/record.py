"""TaskRecord: what workers publish about a task, so that its jobs can be enqueued as it says where its code is not."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from longboat.core import codec
from longboat.core.job import DEFAULT_KEEP, DEFAULT_QUEUE
from longboat.errors import Undecodable
from longboat.tasks.limits import Limit, Unique
from longboat.tasks.template import Template

NAMESPACE = "tasks"
"""Of the entries. Their keys are the tasks' names."""
KEPT = 7 * 86400.0
"""Seconds that an entry is kept after a worker last wrote it: as long as a job waits for a worker that knows its task."""
LONGEST = 1000
"""Bytes of a default and characters of an annotation that are published, at most."""
_KINDS = {
    kind.name: kind
    for kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    )
}


class Unpublished:
    """In the place of a default that only workers know."""

    def __repr__(self) -> str:
        return "…"


class ParameterRecord(msgspec.Struct, array_like=True, frozen=True):
    name: str
    kind: str
    """By the name that inspect gives it."""
    annotation: str = ""
    """As in the code."""
    optional: bool = False
    default: bytes = b""
    """Encoded as an argument; empty: there is none, or it is not published."""


class TaskRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task's settings and parameters, as an entry."""

    parameters: list[ParameterRecord] = []
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    expires: float | None = None
    keep: float = DEFAULT_KEEP
    limits: tuple[Limit, ...] = ()
    fair_by: str = ""
    unique: tuple[str | None, str | float, bool] | None = None
    """`by`, `until` and `latest` of the rule."""
    about: str = ""
    """The first paragraph of the docstring."""
    since: float = 0.0
    """Wall-clock time at which the worker that wrote it began."""
    told: float = 0.0
    """Wall-clock time at which it wrote it last."""


class Told(msgspec.Struct, frozen=True):
    """What a record says, ready for use."""

    template: Template
    signature: inspect.Signature
    about: str


def record_of(template: Template, parameters: Mapping[str, inspect.Parameter], doc: str | None) -> TaskRecord:
    unique = template.unique
    until: str | float = "ended"
    if unique is not None:
        until = str(unique.until) if unique.window is None else unique.window
    return TaskRecord(
        parameters=[_record(each) for each in parameters.values()],
        queue=template.queue,
        priority=template.priority,
        expires=template.expires,
        keep=template.keep,
        limits=template.limits,
        fair_by=template.fair_by,
        unique=None if unique is None else (unique.by, until, unique.latest),
        about=(doc or "").strip().partition("\n\n")[0][:LONGEST],
    )


def decoded(value: bytes | None) -> TaskRecord | None:
    """None for an entry that is not there, or that another version wrote."""
    try:
        return None if value is None else _decoder.decode(value)
    except msgspec.MsgspecError:
        return None


def told(value: bytes | None) -> Told | None:
    """As `decoded`."""
    record = decoded(value)
    if record is None:
        return None
    try:
        signature = inspect.Signature([_parameter(each) for each in record.parameters])
    except (Undecodable, ValueError, KeyError):
        return None
    unique = None
    if record.unique is not None:
        by, until, latest = record.unique
        unique = Unique(by=by, until=until, latest=latest)
    made = Template(record.queue, record.priority, expires=record.expires, keep=record.keep, unique=unique)
    made.limits, made.fair_by = record.limits, record.fair_by
    return Told(made, signature, record.about)


def annotation_text(annotation: Any) -> str:
    """As it is written in the code."""
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _record(parameter: inspect.Parameter) -> ParameterRecord:
    default, optional = b"", parameter.default is not parameter.empty
    if optional:
        with contextlib.suppress(*codec.ENCODE_ERRORS):  # no caller can give such a value
            default = codec.encode(parameter.default)
    if len(default) > LONGEST:
        default = b""
    text = annotation_text(parameter.annotation)[:LONGEST]
    return ParameterRecord(parameter.name, parameter.kind.name, text, optional, default)


def _parameter(record: ParameterRecord) -> inspect.Parameter:
    default: Any = inspect.Parameter.empty
    if record.optional:
        default = _UNPUBLISHED if not record.default else codec.decode(record.default)
    annotation = record.annotation or inspect.Parameter.empty
    return inspect.Parameter(record.name, _KINDS[record.kind], default=default, annotation=annotation)


_UNPUBLISHED = Unpublished()
_decoder = msgspec.msgpack.Decoder(TaskRecord)
