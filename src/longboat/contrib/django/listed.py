"""What the admin shows of jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlencode

import msgspec
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext

from longboat.app import Longboat
from longboat.contrib.django.actions import ACTIONS
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.dashboard.plain import asked, decoded, masked_text, one_line, pretty
from longboat.errors import ConfigError, LongboatError
from longboat.observe.numbers import Numbers, numbers
from longboat.operate.explain import explain
from longboat.operate.job_data import shown
from longboat.operate.search import ORDER, Found, Query, search

LIMIT = 100
MOST = 30
"""Queues and tasks that can be chosen from, at most."""
COLUMNS = ("Job", "State", "Call", "Queue", "Attempts", "Enqueued", "Last error")
FILTERS = ("state", "queue", "task")


HELP = "Part of an id, a task or an error; or words such as error:timeout, args.order_id:42, worker:host*"


class Filter(NamedTuple):
    """One filter, as the admin's templates want it."""

    title: str
    its: list[dict[str, Any]]
    """What can be chosen: its words, its address, and whether it is chosen."""
    template: str = "admin/filter.html"

    def choices(self, _: Any) -> list[dict[str, Any]]:
        return self.its


@dataclass(frozen=True)
class ChangeList:
    """What the admin's own templates of lists ask of a `ChangeList` of rows, which jobs are not."""

    query: str
    params: dict[str, str]
    filter_specs: list[Filter]
    result_list: list[Any]
    opts: Any
    search_fields: ClassVar = ("id",)
    search_help_text: ClassVar = HELP
    has_filters: ClassVar = True
    clear_all_filters_qs: ClassVar = "?"

    @property
    def has_active_filters(self) -> bool:
        return bool(self.params)

    @property
    def result_count(self) -> int:
        """Of this page. There is no count of all pages, so the search form shows none."""
        return len(self.result_list)

    full_result_count = result_count


class Row(NamedTuple):
    """A job as a line of the list."""

    job: JobView
    args: str
    error: str
    enqueued: datetime | None
    ended: datetime | None


def listed(app: Longboat, given: Mapping[str, str], opts: Any) -> dict[str, Any]:
    """A page of jobs, for what the address asks: `q`, a search as the dashboard has it; FILTERS; and `after`."""
    chosen = {name: given.get(name, "") for name in FILTERS}
    text, found, wrong, counts = given.get("q", ""), Found([], None, 0), "", Numbers()
    try:
        found = search(app.broker, _query(text, chosen), after=given.get("after") or None, limit=LIMIT)
        counts = numbers(app.broker)
    except (LongboatError, ValueError) as error:
        wrong = str(error).removeprefix("search: ")
    kept = {"q": text, **chosen}

    def link(**changed: str) -> str:
        return f"?{urlencode({name: value for name, value in {**kept, **changed}.items() if value})}"

    rows = [_row(job) for job in found.jobs]
    params = {name: value for name, value in chosen.items() if value}
    return {
        "cl": ChangeList(text, params, _filters(app, chosen, counts, link), rows, opts),
        "rows": rows,
        "columns": COLUMNS,
        "wrong": wrong,
        "next": link(after=found.after) if found.after else "",
        "first": link() if given.get("after") else "",
        "dashboard": _dashboard(""),
    }


def one(app: Longboat, id: str) -> dict[str, Any] | None:
    """All about a job; None if there is none. Raises BrokerError."""
    job = app.broker.inspector.find([id])[0]
    if job is None:
        return None
    args, _ = decoded(job.payload)
    row = _row(job)
    return {
        "job": job,
        "original": id,
        "why": explain(app.broker, id) or "",
        "args": pretty(shown(args)),
        "result": pretty(decoded(job.result)[0]) if job.result is not None else "",
        "times": [(what, at) for what, at in _times(job) if at is not None],
        "failures": [(each, masked_text(each.message), masked_text(each.traceback)) for each in reversed(job.failures)],
        "row": row,
        "fitting": [name for name, action in ACTIONS.items() if job.state in action.states],
        "dashboard": _dashboard(f"jobs/{id}"),
    }


def _query(text: str, chosen: Mapping[str, str]) -> Query:
    """Raises ConfigError, and ValueError for what is no state."""
    query = asked(text)
    changes: dict[str, Any] = {name: chosen[name] for name in ("queue", "task") if chosen[name]}
    if chosen["state"]:
        changes["states"] = (State(chosen["state"]),)
    if said := [name for name in chosen if name in query.words and chosen[name]]:
        raise ConfigError(f"{said[0]}: it is chosen at the side and in the search; use one of the two")
    return msgspec.structs.replace(query, **changes)


def _filters(app: Longboat, chosen: Mapping[str, str], counts: Numbers, link: Callable[..., str]) -> list[Filter]:
    queue = chosen["queue"]
    by_state = {state: counts.total(state, [queue] if queue else []) for state in ORDER}
    with contextlib.suppress(Exception):  # the project's code; a worker says what is wrong with it
        app.load()
    choices: dict[str, Iterable[tuple[str, str]]] = {
        "state": [(state.value, state.value if n is None else f"{state.value} ({n:,})") for state, n in by_state.items()],
        "queue": [(name, name) for name in sorted(counts.queues)[:MOST]],
        "task": [(name, name) for name in sorted(app.registry.tasks)[:MOST]],
    }
    return [
        Filter(
            name,
            [
                {"display": display, "query_string": link(**{name: value}), "selected": chosen[name] == value}
                for value, display in (("", gettext("All")), *some)
            ],
        )
        for name, some in choices.items()
    ]


def _row(job: JobView) -> Row:
    last = job.failures[-1] if job.failures else None
    error = masked_text(f"{last.type}: {last.message}")[:200] if last else ""
    return Row(job, one_line(job.payload), error, _moment(job.enqueued), _moment(job.ended))


def _times(job: JobView) -> list[tuple[str, datetime | None]]:
    names = {"Enqueued": job.enqueued, "Due": job.due, "Started": job.started, "Ended": job.ended}
    return [(name, _moment(at)) for name, at in names.items()]


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _dashboard(path: str) -> str:
    """The address of a page of the dashboard; empty if urls.py has none."""
    try:
        return str(reverse("longboat:dashboard", kwargs={"path": path}))
    except NoReverseMatch:
        return ""
