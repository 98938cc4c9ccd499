"""Groups of failures as people ask for them: what fails most, since when, and what is new since a deploy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from longboat.core.patterns import same
from longboat.errors import ConfigError
from longboat.observe.deploys import Deploy
from longboat.observe.history import FailureGroup
from longboat.operate.search import Query, within

WORDS = ("task", "error", "failure")
"""Words of a search that mean something for failures, beside free text."""
SORTS = ("last", "count", "first")
NEWEST = "newest"


class Failing(msgspec.Struct):
    """A group, beside a deploy."""

    group: FailureGroup
    count: int
    """Since the deploy; without one, since the first."""
    new: bool
    """Whether it failed for the first time after the deploy."""


def chosen(deploys: Sequence[Deploy], name: str) -> Deploy | None:
    """The deploy of this version, or the newest one; None for no name. Raises ConfigError where there is none."""
    if not name:
        return None
    for deploy in deploys:
        if name in (deploy.version, NEWEST):
            return deploy
    known = ", ".join(dict.fromkeys(deploy.version for deploy in deploys))
    how = "mark one with `longboat deploy mark VERSION`, or set LONGBOAT_VERSION for workers"
    raise ConfigError(f"there is no deploy {name!r}; known are {known}" if known else f"no deploy is known: {how}")


def failing(
    groups: Iterable[FailureGroup],
    query: Query,
    *,
    deploy: Deploy | None = None,
    new: bool = False,
    sort: str = "last",
) -> list[Failing]:
    """Those that the query finds, in the order of `sort`. With a deploy, those that have failed since; `new`: only then.

    Raises ConfigError for another sort than SORTS.
    """
    if sort not in SORTS:
        raise ConfigError(f"sort: {sort!r} is not one of {', '.join(SORTS)}")
    at = deploy.at if deploy is not None else 0.0
    found = [Failing(each, each.since(at), deploy is not None and each.first >= at) for each in groups if each.last >= at]
    if new:
        found = [each for each in found if each.new]
    keys = {
        "last": lambda each: -each.group.last,
        "count": lambda each: (-each.count, -each.group.last),
        "first": lambda each: -each.group.first,
    }
    return sorted((each for each in found if _fits(query, each.group)), key=keys[sort])


def data(group: FailureGroup, deploy: Deploy | None) -> dict[str, Any]:
    """A group as plain data. `deploy`: the one that "since_deploy" and "new" are about; None: they are null."""
    found = msgspec.structs.asdict(group)
    found["trend"] = [pair for counts in reversed(group.trend) for pair in counts]
    found["since_deploy"] = None if deploy is None else group.since(deploy.at) if group.last >= deploy.at else 0
    found["new"] = None if deploy is None else group.first >= deploy.at
    return found


def _fits(query: Query, group: FailureGroup) -> bool:
    said = f"{group.type}: {group.message}"
    said = said if query.clean is None else query.clean(said)
    texts: Collection[str] = (said, group.task)
    return (
        (not query.task or same(query.task, group.task))
        and (not query.error or within(query.error, said))
        and query.failure in ("", group.fingerprint)
        and all(any(within(part, text) for text in texts) for part in query.texts)
    )
