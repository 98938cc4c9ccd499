"""The search language for jobs: `state:dead queue:mail error:timeout args.user.id:42`, as typed into a page or a command."""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from longboat.contract.broker import Broker
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.patterns import same, wild
from longboat.core.views import JobView, Page
from longboat.errors import ConfigError, Undecodable, Unsupported
from longboat.observe.history import fingerprint
from longboat.operate.times import between, iso, ran
from longboat.operate.traces import Searched, dead, running

ORDER = (State.RUNNING, State.READY, State.WAITING, State.SCHEDULED, State.DEAD, State.CANCELLED, State.SUCCEEDED)
"""The states, most interesting first: the order of what is found."""

RAN = (State.RUNNING, State.DEAD, State.CANCELLED, State.SUCCEEDED, State.SCHEDULED, State.READY)
"""The order of what is found by a time: a job that waits for its parents has not run, and of the others few have."""

WORDS = ("state", "queue", "task", "id", "at", "after", "before", "error", "failure", "worker", "flow", "args")
LONGEST = 50_000
"""Characters of a search, at most."""
SEARCHED = 5000
"""About how many jobs one search looks at; its `after` continues."""
SECONDS = 1.0
"""About how long one search takes at most: arguments may be large."""

_FEW, _QUICK = 10, 0.1
"""Jobs of the first page when arguments are compared, and the seconds for which pages are made smaller or larger."""
_IDS = 500
"""Ids that are looked up in one call, and jobs of one page where a time is searched for."""
_APART = 60.0
"""Seconds that the clocks of those who end jobs may be apart: so far behind a time, no job was at it."""

_NAMED = r"(state|queue|task|id|at|after|before|error|failure|worker|flow|args(?:\.[^:\s]+)?):"
_WORD = re.compile(f"{_NAMED}(.*)", re.S)
_SEVERAL = re.compile(rf"\s['\"]?{_NAMED}")
"""Shows that one argument of a command contains a whole search."""


class Query(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to look for: everything must match. `*` and `?` work as in a shell."""

    states: tuple[State, ...] = ()
    """Empty: any."""
    queue: str = ""
    task: str = ""
    ids: tuple[str, ...] = ()
    error: str = ""
    """Part of the last failure's type or message, ignoring case."""
    failure: str = ""
    """The fingerprint of the last failure (history.py)."""
    worker: str = ""
    flow: str = ""
    since: float | None = None
    """A job has run at some moment from then on, in seconds since the epoch: see `ran`."""
    until: float | None = None
    """And at some moment before this one."""
    args: tuple[tuple[str, str], ...] = ()
    """(path, value), such as "user.id" and "42". The path "" means anywhere in the arguments."""
    texts: tuple[str, ...] = ()
    """Part of the id, the task's name or the last failure."""
    clean: Callable[[Any], Any] | None = None
    """Applied to arguments and messages before they are compared, such as a mask: what may not be seen is not found."""

    @property
    def counted(self) -> bool:
        """Whether the broker's counts tell how many jobs match."""
        return self == Query(self.states, self.queue, clean=self.clean) and not wild(self.queue)

    @property
    def timed(self) -> bool:
        """Whether it asks when jobs ran."""
        return self.since is not None or self.until is not None

    @property
    def words(self) -> list[str]:
        """Which of WORDS are used; "at" stands for both others."""
        after, before = self.since is not None, self.until is not None
        said = {"state": self.states, "id": self.ids, "at": after and before, "after": after, "before": before}
        return [word for word in WORDS if said.get(word, getattr(self, word, ()))]


class Found(msgspec.Struct):
    """Some jobs, and where to continue."""

    jobs: list[JobView]
    after: str | None
    """Pass this to the next search; None: there are no more."""
    looked: int
    """How many jobs were looked at."""
    unlisted: tuple[State, ...] = ()
    """Where the query names no state: those of which this broker lists no jobs."""


def parse(text: str) -> Query:
    """The query in a text. Raises ConfigError, which says what is not understood."""
    if len(text) > LONGEST:
        raise ConfigError(f"search: it has more than {LONGEST:,} characters")
    return understood(_parts(text))


def from_arguments(arguments: Sequence[str]) -> Query:
    """The query in a command's arguments: each is one part, with any spaces, or a text of several. Raises ConfigError."""
    parts: list[str] = []
    for argument in arguments:
        parts += _parts(argument) if _SEVERAL.search(argument) else [argument]
    return understood(parts)


def understood(parts: Sequence[str]) -> Query:
    """The query in parts such as "error:two words". Raises ConfigError, which says what is not understood."""
    found: dict[str, Any] = {}
    states: list[State] = []
    ids: list[str] = []
    args: list[tuple[str, str]] = []
    texts: list[str] = []
    times: list[tuple[str, str]] = []
    for part in parts:
        word = _WORD.fullmatch(part)
        if word is None:
            texts.append(part)
            continue
        key, value = word.groups()
        if not value:
            raise ConfigError(f"search: {key}: needs a value, such as {key}:{_EXAMPLES.get(key, '42')}")
        if key == "state":
            states += [_state(name) for name in value.split(",")]
        elif key == "id":
            ids += value.split(",")
        elif key.startswith("args"):
            args.append((key.removeprefix("args").removeprefix("."), value))
        elif key in ("at", "after", "before"):
            times.append((key, value))
        elif found.setdefault(key, value) != value:
            raise ConfigError(f"search: {key}: is given twice, but a job has only one")
    order = tuple(state for state in ORDER if state in states)
    since, until = between(times, SYSTEM.now())
    return Query(order, ids=tuple(ids), since=since, until=until, args=tuple(args), texts=tuple(texts), **found)


def misspelt(query: Query) -> str:
    """What to tell of a free text that is probably a misspelt word, such as "stat:dead"; empty if there is none."""
    from difflib import get_close_matches

    for text in query.texts:
        key, colon, value = text.partition(":")
        if colon and value and (near := get_close_matches(key.lower(), WORDS, 1, 0.7)):
            return f"{text!r} is searched for as a text; did you mean {near[0]}:{value}?"
    return ""


def is_word(part: str) -> bool:
    """Whether an argument of a command contains one of WORDS, rather than free text."""
    return bool(_WORD.fullmatch(part) or _SEVERAL.search(part))


def written(query: Query) -> str:
    """A text that parses to this query."""
    parts = [("state", ",".join(query.states)), ("id", ",".join(query.ids))]
    parts += [(word, iso(at)) for word, at in (("after", query.since), ("before", query.until)) if at is not None]
    parts += [(name, getattr(query, name)) for name in ("queue", "task", "worker", "flow", "error", "failure")]
    parts += [(f"args.{path}" if path else "args", value) for path, value in query.args]
    return " ".join([*(shlex.quote(f"{key}:{value}") for key, value in parts if value), *map(shlex.quote, query.texts)])


def restrict(query: Query, words: Collection[str], what: str) -> Query:
    """The query, if it uses only these words and free text. Raises ConfigError, which names the words that can be used."""
    if wrong := [word for word in query.words if word not in words]:
        known = ", ".join(f"{word}:" for word in words)
        raise ConfigError(f"search: {wrong[0]}: does not apply to {what}; use {known} or free text")
    return query


def search(broker: Searched, query: Query, *, after: str | None = None, limit: int = 50) -> Found:
    """Up to `limit` jobs, state by state in ORDER.

    Looks at about SEARCHED jobs and for about SECONDS at most, if it asks for a time for SECONDS only: it may find none and
    still have an `after`. Raises ConfigError for the `after` of another search.
    """
    if query.ids:
        views = _by_id(broker, query)
        return Found([view for view in views if view is not None and matches(query, view)], None, len(views))
    states = list(query.states or (RAN if query.timed else ORDER))
    cursor: str | None = None
    if after is not None:
        name, _, rest = after.partition(":")
        if name not in states:
            raise ConfigError(f"search: {after!r} is not where this search ended")
        states, cursor = states[states.index(State(name)) :], rest or None
    jobs: list[JobView] = []
    unlisted: list[State] = []
    looked, size = 0, min(limit, _FEW) if query.args else limit
    largest, enough = (max(limit, _IDS), math.inf) if query.timed else (limit, SEARCHED)
    begun = now = time.monotonic()
    for state in states:
        while True:
            if len(jobs) >= limit or looked >= enough or (looked and now - begun >= SECONDS):
                return Found(jobs, f"{state.value}:{cursor or ''}", looked, tuple(unlisted))
            found = _next_page(broker, query, state, cursor, size, limit - len(jobs), first=not looked)
            unlisted += found.unlisted
            jobs += found.jobs
            looked, cursor = looked + found.looked, found.after
            before, now = now, time.monotonic()
            size = max(size // 2, 1) if now - before > _QUICK else min(size * 2, largest)
            if cursor is None:
                break
    if len(unlisted) == len(states) and after is None:
        broker.inspector.jobs(states[0], limit=1)  # raises, and says why
    return Found(jobs, None, looked, tuple(unlisted))


def _next_page(
    broker: Searched, query: Query, state: State, cursor: str | None, size: int, left: int, *, first: bool
) -> Found:
    """As `_page`. A state of which no jobs are listed is told, unless it was asked for: then it raises Unsupported."""
    try:
        return _page(broker, query, state, cursor, size, left)
    except Unsupported:
        if query.states:
            raise
        return Found([], None, 0, (state,))
    except (ValueError, TypeError, LookupError) as error:
        if cursor is None or not first:
            raise
        raise ConfigError(f"search: '{state.value}:{cursor}' is not where this search ended: {error}") from None


def _by_id(broker: Searched, query: Query) -> Sequence[JobView | None]:
    try:
        return [view for n in range(0, len(query.ids), _IDS) for view in broker.inspector.find(query.ids[n : n + _IDS])]
    except Unsupported:
        if query.states != (State.DEAD,):
            raise
        return dead(broker, query.ids)


def _page(broker: Searched, query: Query, state: State, cursor: str | None, size: int, left: int) -> Found:
    """One page of jobs in this state, cut so that at most `left` of them match."""
    queue = query.queue if query.queue and not wild(query.queue) else None
    task = query.task if query.task and not wild(query.task) else None
    if query == Query(query.states, queue or "", task or "", clean=query.clean):  # all of them match
        size = left
    page = _listed(broker, state, queue, task, cursor, size)
    while len(fit := [place for place, job in enumerate(page.jobs, 1) if matches(query, job)]) > left:
        size = min(size - 1, fit[left - 1])  # up to the last one that is wanted
        page = _listed(broker, state, queue, task, cursor, size)
    jobs, end = page.jobs, page.after
    if query.since is not None and state.ended and jobs and (jobs[-1].ended or query.since) < query.since - _APART:
        end = None  # the newest come first: none of the others has run so late
    return Found([jobs[place - 1] for place in fit], end, max(len(jobs), size if task else 1))


def _listed(broker: Searched, state: State, queue: str | None, task: str | None, cursor: str | None, size: int) -> Page:
    try:
        return broker.inspector.jobs(state, queue=queue, task=task, after=cursor, limit=size)
    except Unsupported:
        if state is not State.RUNNING or cursor is not None:
            raise
        return Page(
            [view for view in running(broker.kv) if queue in (None, view.queue) and task in (None, view.task)][:size], None
        )


def every(broker: Broker, query: Query, *, limit: int = 500) -> Iterator[list[JobView]]:
    """All jobs that are found, some at a time; none after a search that found none yet."""
    after: str | None = None
    while True:
        found = search(broker, query, after=after, limit=limit)
        yield found.jobs
        after = found.after
        if after is None:
            return


def matches(query: Query, job: JobView) -> bool:
    """Whether the query finds this job."""
    last = job.failures[-1] if job.failures else None
    said = f"{last.type}: {last.message}" if last else ""
    said = said if query.clean is None else query.clean(said)
    return (
        (not query.states or job.state in query.states)
        and (not query.queue or same(query.queue, job.queue))
        and (not query.task or same(query.task, job.task))
        and (not query.worker or same(query.worker, job.worker or (last.worker if last else "")))
        and (not query.timed or ran(job, query.since or 0.0, math.inf if query.until is None else query.until))
        and (not query.flow or (job.constraints is not None and job.constraints.flow == query.flow))
        and (not query.error or within(query.error, said))
        and (not query.failure or (last is not None and fingerprint(job.task, last) == query.failure))
        and all(any(within(text, place) for place in (job.id, job.task, said)) for text in query.texts)
        and (not query.args or _has_args(query, job.payload))
    )


def _has_args(query: Query, payload: bytes) -> bool:
    try:
        args = codec.decode(payload)
    except Undecodable:
        return False
    args = args if query.clean is None else query.clean(args)
    return all(within(value, _text(args)) if not path else _at(args, path.split("."), value) for path, value in query.args)


def _at(value: Any, path: list[str], wanted: str) -> bool:
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False
    return same(wanted, value if isinstance(value, str) else _text(value))


def _parts(text: str) -> list[str]:
    try:
        return shlex.split(text, posix=True)
    except ValueError:
        return text.split()  # an apostrophe or an open quote is then an ordinary character


def _text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def _state(name: str) -> State:
    try:
        return State(name)
    except ValueError:
        raise ConfigError(f"search: there is no state {name!r}; the states are {', '.join(State)}") from None


def within(part: str, text: str) -> bool:
    """Whether the text contains it, ignoring case."""
    if wild(part):
        return fnmatchcase(text.lower(), f"*{part.lower().replace('[', '[[]')}*")
    return part.lower() in text.lower()


_EXAMPLES = {"state": "dead", "queue": "mail", "task": "mail.send", "id": "0123…", "error": "timeout"} | dict.fromkeys(
    ("at", "after", "before"), "03:12"
)
