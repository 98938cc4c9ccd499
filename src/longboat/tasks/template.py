"""Template: the parts of a task's jobs that do not differ from call to call, and the options that change them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

import msgspec

from longboat.core.clock import SYSTEM, Duration, seconds
from longboat.core.constraints import LATER, Constraints, JobLimit
from longboat.core.job import DEFAULT_KEEP, DEFAULT_QUEUE, MESSAGE_VERSION, Job, new_id, new_ids
from longboat.core.retry import policy
from longboat.errors import BadArguments, ConfigError
from longboat.tasks.keys import mentions, rendered, short
from longboat.tasks.limits import Limit, Unique, UniqueKey, names_of

LONGEST_ID = 200
LONGEST_NAME = 200
RETRIES, TIMEOUT = "retries", "timeout"
"""The headers by which a job has other settings than its task: a number, and seconds or NO_LIMIT."""
NO_LIMIT = "none"


ELSEWHERE = {
    "autoretry_for": "retry_on",
    "actor_name": "name",
    "countdown": "delay",
    "default_retry_delay": "backoff",
    "enqueue_at": "run_at",
    "enqueue_in": "delay",
    "eta": "run_at",
    "ignore_result": "keep_result",
    "job_id": "id",
    "job_timeout": "timeout",
    "max_age": "expires",
    "max_backoff": "backoff",
    "max_retries": "retries",
    "max_tries": "retries",
    "min_backoff": "backoff",
    "queue_name": "queue",
    "rate_limit": "limit",
    "result_expires": "keep_result",
    "result_ttl": "keep_result",
    "retry": "retries",
    "retry_backoff": "backoff",
    "retry_delay": "backoff",
    "retry_kwargs": "retries",
    "retry_when": "retry_on",
    "soft_time_limit": "timeout",
    "store_results": "keep_result",
    "task_id": "id",
    "throws": "retry_on",
    "time_limit": "timeout",
    "ttl": "expires",
    "unique_for": "unique",
}
"""What other queues call an option -> ours."""
_WITHIN = {"bind", "context", "pass_context"}
"""Options of other queues that hand the job to its function."""


class JobOptions(TypedDict, total=False):
    """What a task says of its jobs, and `using` of single ones."""

    queue: str
    """Where the jobs wait. Default: "default"."""
    priority: int
    """A 32-bit integer; higher first, within a queue. Default: 0."""
    expires: Duration | None
    """A job that has not started so long after it was enqueued is cancelled, also one that still waits for others. Default:
    None, never."""
    keep_result: Duration
    """How long a job that has ended, and its result, can be read; 0: not at all. Default: 1 h."""
    unique: Unique | None
    """This call and others of the same key count as one, as long as a job of theirs is there. Default: None."""


class Options(JobOptions, total=False):
    """What `using` may change for single jobs."""

    delay: Duration
    """Start so long after the call, by the broker's clock."""
    run_at: datetime
    """Start no sooner than this; needs a time zone. Instead of `delay`."""
    id: str
    """An id of your own: a second job of the same id is not made, also for a day after the first one's end."""
    retries: int
    """Attempts after the first, for these jobs."""
    timeout: Duration | None
    """For one attempt of these jobs; None: no limit."""
    session: object
    """Enqueue within the transaction of this Session, or of this connection of SQLAlchemy, Django or a driver."""
    connection: object
    """Another name of `session`."""


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
    retries: str = ""
    timeout: str = ""
    """These two travel as headers, as workers read them: "" leaves it to the task."""

    @property
    def ruled(self) -> bool:
        """Whether a rule reads the arguments of the jobs."""
        return bool(self.limits or self.fair_by or self.unique)

    def rule(self, job: Job, arguments: Mapping[str, Any], later: Collection[str] = ()) -> UniqueKey | None:
        """Give the job the limits and the fairness key of these arguments; returns its unique key, if there is such a rule.

        `later`: the parameters that the results of its parents fill. Limits by these are made when they are known, by
        `limits_of`; other keys cannot wait. Raises BadArguments.
        """
        task, fair_by, unique = job.task, self.fair_by, self.unique
        if later and unique is not None and (unique.by is None or mentions(unique.by, later)):
            raise _too_late("unique", task, later)
        if later and mentions(fair_by, later):
            raise _too_late("fair_by", task, later)
        if self.limits or fair_by:
            waits = any(mentions(limit.key, later) for limit in self.limits)
            job.constraints = msgspec.structs.replace(
                job.constraints or Constraints(),
                limits=[LATER] if waits else self.limits_of(task, arguments),
                fairness_key=short(rendered(fair_by, task, arguments)) if fair_by else "",
            )
        return None if unique is None else unique.key(task, arguments)

    def limits_of(self, task: str, arguments: Mapping[str, Any]) -> list[JobLimit]:
        """The limits of a job with these arguments. Raises BadArguments."""
        names = names_of(task, self.limits)
        return [limit.for_arguments(task, arguments, name) for limit, name in zip(self.limits, names, strict=True)]

    def job(self, task: str, payload: bytes) -> Job:
        now = SYSTEM.now()
        delay = self.delay if self.run_at is None else max(0.0, self.run_at - now)
        name = self.id or new_id()
        job = Job(MESSAGE_VERSION, name, task, payload, self.queue, self.priority, delay, self.expires, self.keep, now)
        if self.retries or self.timeout:
            job.headers = self.headers()
        return job

    def headers(self) -> dict[str, str]:
        """What the jobs say of how they are run."""
        return {name: value for name, value in ((RETRIES, self.retries), (TIMEOUT, self.timeout)) if value}

    def jobs(self, task: str, payloads: Sequence[bytes]) -> list[Job]:
        """Many, with generated ids."""
        now = SYSTEM.now()
        delay = self.delay if self.run_at is None else max(0.0, self.run_at - now)
        queue, priority, expires, keep = self.queue, self.priority, self.expires, self.keep
        jobs = [
            Job(MESSAGE_VERSION, name, task, payload, queue, priority, delay, expires, keep, now)
            for name, payload in zip(new_ids(len(payloads)), payloads, strict=True)
        ]
        if self.retries or self.timeout:
            for job in jobs:
                job.headers = self.headers()
        return jobs

    def using(self, options: Options) -> Template:
        """A copy with these changed. Raises ConfigError, naming the option."""
        if unknown := options.keys() - _FIELDS.keys():
            raise unknown_option(min(unknown), _FIELDS)
        if "delay" in options and "run_at" in options:
            raise ConfigError("give delay or run_at, not both")
        if "session" in options and "connection" in options:
            raise ConfigError("session and connection are one option: give one of them")
        changes: dict[str, Any] = {}
        if "delay" in options or "run_at" in options:
            changes = {"delay": 0.0, "run_at": None}
        for option, value in options.items():
            field, checked = _FIELDS[option]
            changes[field] = checked(value)
        return msgspec.structs.replace(self, **changes)


def unknown_option(name: str, known: Collection[str]) -> ConfigError:
    """The error for an option that is none of those known here: it names the one that is probably meant."""
    from difflib import get_close_matches

    if name in _WITHIN:
        return ConfigError(f"unknown option {name!r}: within the function, longboat.current() is its job")
    near = ELSEWHERE.get(name) or next(iter(get_close_matches(name, known, 1, 0.7)), "")
    where = "" if near in known else " of task.using(…)" if near in _FIELDS else " of @app.task(…)"
    meant = f": did you mean {near!r}{where}?" if near else "."
    return ConfigError(f"unknown option {name!r}{meant} There are {', '.join(sorted(known))}")


def meant_for_using(names: Iterable[str]) -> str:
    """How to give those of these names that are options of a job, or such of other queues, as the end of an error."""
    ours = sorted({ELSEWHERE.get(name, name) for name in names} & Options.__annotations__.keys())
    return f". Options of the job go by using({', '.join(f'{each}=…' for each in ours)}).enqueue(…)" if ours else ""


def checked_name(name: str, what: str) -> str:
    """A task's or queue's name, as brokers, shells and pages can carry it. Raises ConfigError."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ConfigError(f"{what}: {name!r} must be 1 to {LONGEST_NAME} printable characters, no space at either end")
    if "," in name:
        raise ConfigError(f"{what}: {name!r} must not hold a comma, which separates names on the command line")
    return name


def _too_late(option: str, task: str, later: Collection[str]) -> BadArguments:
    return BadArguments(
        f"task {task!r}: its {option} key must be known when it is enqueued, and {', '.join(sorted(later))} comes from "
        f"other jobs. Make the key of other arguments{', or say using(unique=None)' if option == 'unique' else ''}."
    )


def time_limit(value: Duration) -> float:
    """Seconds that one attempt may take. Raises ConfigError."""
    limit = seconds(value, "timeout")
    if limit == 0:
        raise ConfigError("timeout: 0 leaves no time to run; leave it out for no limit")
    return limit


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


_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "queue": ("queue", lambda value: checked_name(value, "queue")),
    "priority": ("priority", _priority),
    "delay": ("delay", lambda value: seconds(value, "delay")),
    "run_at": ("run_at", _moment),
    "expires": ("expires", lambda value: None if value is None else seconds(value, "expires")),
    "keep_result": ("keep", lambda value: seconds(value, "keep_result")),
    "id": ("id", _id),
    "unique": ("unique", lambda value: value),
    "retries": ("retries", lambda value: str(policy(value, 0.0).retries)),
    "timeout": ("timeout", lambda value: NO_LIMIT if value is None else repr(time_limit(value))),
    "session": ("connection", lambda value: value),
    "connection": ("connection", lambda value: value),
}
"""By option: the field it sets, and what checks its value. Those of `Options`."""
