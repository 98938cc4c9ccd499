"""Template: the parts of a task's jobs that do not differ from call to call, and the options that change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from inspect import Parameter
from typing import Any, TypedDict

import msgspec

from longboat.core.clock import SYSTEM, Duration, seconds
from longboat.core.constraints import Constraints
from longboat.core.job import DEFAULT_KEEP, DEFAULT_QUEUE, MESSAGE_VERSION, Job, new_id, new_ids
from longboat.errors import ConfigError
from longboat.tasks.limits import Limit, Unique, check_limit, check_template, check_unique, rendered, short

Rules = tuple[tuple[Limit, ...], str, Unique | None]
"""Limits, the turn key's template, and when calls count as one."""
NO_RULES: Rules = ((), "", None)

LONGEST_ID = 200
LONGEST_NAME = 200


class Options(TypedDict, total=False):
    """What `using` may change for single jobs."""

    queue: str
    priority: int
    delay: Duration
    run_at: datetime
    """Start no sooner than this; needs a time zone. Instead of `delay`."""
    id: str
    """An id of your own: a second job of the same id is not made, also for a day after the first one's end."""
    expires: Duration
    keep_result: Duration
    unique: Unique
    """This call and others of the same key count as one, as long as a job of theirs is there."""
    connection: object
    """Enqueue within the transaction that this connection is in (PostgreSQL): psycopg, SQLAlchemy or Django."""


class Template(msgspec.Struct):
    """The parts of a task's jobs that do not differ from call to call."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    delay: float = 0.0
    run_at: float | None = None
    expires: float | None = None
    keep: float = DEFAULT_KEEP
    id: str = ""
    connection: object = None
    """Whose transaction the jobs are stored in; None: each call is a transaction of its own."""
    limits: tuple[Limit, ...] = ()
    fair_by: str = ""
    unique: Unique | None = None

    @property
    def constrained(self) -> bool:
        """Whether jobs depend on their arguments beyond their payload."""
        return bool(self.limits or self.fair_by)

    def constraints(self, task: str, arguments: Mapping[str, Any]) -> Constraints | None:
        """What ties a job with these arguments to others."""
        if not self.constrained:
            return None
        fairness_key = short(rendered(self.fair_by, task, arguments)) if self.fair_by else ""
        return Constraints(limits=[limit.for_arguments(task, arguments) for limit in self.limits], fairness_key=fairness_key)

    def job(self, task: str, payload: bytes, constraints: Constraints | None = None) -> Job:
        now = SYSTEM.now()
        delay = self.delay if self.run_at is None else max(0.0, self.run_at - now)
        name = self.id or new_id()
        job = Job(MESSAGE_VERSION, name, task, payload, self.queue, self.priority, delay, self.expires, self.keep, now)
        job.constraints = constraints
        return job

    def jobs(self, task: str, payloads: Sequence[bytes]) -> list[Job]:
        """Many, with generated ids."""
        now = SYSTEM.now()
        delay = self.delay if self.run_at is None else max(0.0, self.run_at - now)
        queue, priority, expires, keep = self.queue, self.priority, self.expires, self.keep
        return [
            Job(MESSAGE_VERSION, name, task, payload, queue, priority, delay, expires, keep, now)
            for name, payload in zip(new_ids(len(payloads)), payloads, strict=True)
        ]

    def using(self, options: Options) -> Template:
        """A copy with these changed. Raises ConfigError, naming the option."""
        made = msgspec.structs.replace(self)
        unknown = options.keys() - Options.__annotations__.keys()
        if unknown:
            raise ConfigError(f"unknown option {min(unknown)!r}; there are {', '.join(sorted(Options.__annotations__))}")
        if "delay" in options and "run_at" in options:
            raise ConfigError("give delay or run_at, not both")
        if "queue" in options:
            made.queue = _queue(options["queue"])
        if "priority" in options:
            made.priority = _priority(options["priority"])
        if "delay" in options:
            made.delay, made.run_at = seconds(options["delay"], "delay"), None
        if "run_at" in options:
            made.delay, made.run_at = 0.0, _moment(options["run_at"])
        if "expires" in options:
            made.expires = seconds(options["expires"], "expires")
        if "keep_result" in options:
            made.keep = seconds(options["keep_result"], "keep_result")
        if "id" in options:
            made.id = _id(options["id"])
        if "unique" in options:
            made.unique = options["unique"]
        if "connection" in options:
            made.connection = options["connection"]
        return made


def template(
    queue: str,
    priority: int,
    expires: Duration | None,
    keep_result: Duration,
    rules: Rules = NO_RULES,
) -> Template:
    """The checked template of a task's jobs. Raises ConfigError, naming the option."""
    limit = None if expires is None else seconds(expires, "expires")
    made = Template(_queue(queue), _priority(priority), expires=limit, keep=seconds(keep_result, "keep_result"))
    made.limits, made.fair_by, made.unique = rules
    return made


def rules(
    task: str,
    parameters: Mapping[str, Parameter],
    limit: Limit | Sequence[Limit],
    fair_by: str,
    unique: Unique | None,
) -> Rules:
    """The checked rules of a task with these parameters. Raises ConfigError, naming the option."""
    limits = (limit,) if isinstance(limit, Limit) else tuple(limit)
    for each in limits:
        check_limit(each, task, parameters)
    check_template(fair_by, "fair_by", task, parameters)
    return limits, fair_by, unique if unique is None else check_unique(unique, task, parameters)


def checked_name(name: str, what: str) -> str:
    """A task's or queue's name, as brokers, shells and pages can carry it. Raises ConfigError."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ConfigError(f"{what}: {name!r} must be 1 to {LONGEST_NAME} printable characters, no space at either end")
    if "," in name:
        raise ConfigError(f"{what}: {name!r} may not hold a comma, which separates names on the command line")
    return name


def _queue(name: str) -> str:
    return checked_name(name, "queue")


def _priority(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) < value < 2**31:
        raise ConfigError(f"priority: {value!r} must be a whole number of 32 bits; higher runs first")
    return value


def _moment(value: datetime) -> float:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ConfigError(f"run_at: {value!r} must be a datetime with a time zone, such as datetime.now(UTC)")
    return value.astimezone(UTC).timestamp()


def _id(value: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or not value.isprintable():
        raise ConfigError(f"id: {value!r} must be 1 to {LONGEST_ID} printable characters")
    return value
