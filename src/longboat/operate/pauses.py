"""Pauses: what waits until somebody resumes it: queues, tasks, limits' keys, and jobs that a search finds.

They are kept beside the jobs and respected by every worker. A queue's jobs are not received. Those of the other kinds are
parked by the worker that receives them, without an attempt, and received again once their pause is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability, unsupported
from longboat.contract.kv import KV, Entry
from longboat.core.job import State
from longboat.core.patterns import same
from longboat.core.views import JobView
from longboat.errors import ConfigError
from longboat.observe.history import pages
from longboat.operate.search import Query, matches, parse, restrict, written
from longboat.tasks.template import checked_name

NAMESPACE = "paused"

Kind = Literal["queue", "task", "limit", "search"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SEARCHED = ("queue", "task", "flow", "id", "args")
"""The words of a search that a worker can judge by, when it receives a job."""
LONGEST = 280
_SAID = {"limit": "jobs of limit {} are paused", "search": "jobs that match {} are paused"}


class Rule(msgspec.Struct, frozen=True):
    """A pause of single jobs."""

    kind: Kind
    name: str
    query: Query | None

    def holds(self, job: JobView) -> bool:
        """Whether it is a pause of this job."""
        if self.query is not None:
            return matches(self.query, job)
        return job.constraints is not None and any(same(self.name, limit.key) for limit in job.constraints.limits)

    @property
    def said(self) -> str:
        """It in words."""
        return _SAID[self.kind].format(self.name)


_NEEDS = {
    "queue": [Capability.PAUSE],
    "task": [Capability.PARKING],
    "limit": [Capability.LIMITS, Capability.PARKING],
    "search": [Capability.PARKING],
}


def check(broker: Broker, kind: Kind) -> None:
    """Raises Unsupported where nothing of this kind can be paused."""
    for needed in _NEEDS[kind]:
        if needed not in broker.capabilities:
            raise unsupported(needed, type(broker).__name__)


def checked(kind: Kind, name: str) -> str:
    """The name as it is kept. Raises ConfigError for one that names nothing that can be paused."""
    if kind in ("queue", "task"):
        return checked_name(name, kind)
    if kind == "search":
        query = restrict(parse(name), SEARCHED, "a pause")
        if query.texts or query == Query():
            raise ConfigError("a pause needs words such as args.customer:42 and task:mail.*, and no free text")
        name = written(query)
    if not name or len(name) > LONGEST:
        raise ConfigError(f"what is paused is named by 1 to {LONGEST} characters")
    return name


def pause(kv: KV, kind: Kind, name: str, paused: bool) -> bool:
    """Pause or resume it; False if it was so already. Workers notice within about a second."""
    key = f"{kind}:{name}"
    if paused:
        return kv.put_if_absent(NAMESPACE, [Entry(key, b"1")])[0]
    return kv.compare_and_set(NAMESPACE, Entry(key, None), old=b"1")


def nothing() -> dict[Kind, set[str]]:
    """What is paused where nothing can be."""
    return {kind: set() for kind in KINDS}


def paused(kv: KV) -> dict[Kind, set[str]]:
    """The names of everything paused."""
    found = nothing()
    for entries in pages(kv, NAMESPACE):
        for key, _ in entries:
            kind, _, name = key.partition(":")
            if kind in found:
                found[kind].add(name)
    return found


def rules(found: Mapping[Kind, set[str]]) -> list[Rule]:
    """The pauses of single jobs among what is paused."""
    made = [Rule("limit", key, None) for key in sorted(found["limit"])]
    for text in sorted(found["search"]):
        try:
            made.append(Rule("search", text, parse(text)))
        except ConfigError:
            continue  # a newer version has written it
    return made


def said(found: Mapping[Kind, set[str]], job: JobView) -> list[str]:
    """The pauses that keep this job from running, in words."""
    told = [f"queue {job.queue} is paused"] if job.queue in found["queue"] and job.state is not State.WAITING else []
    told += [f"task {job.task} is paused"] if job.task in found["task"] else []
    return told + [rule.said for rule in rules(found) if rule.holds(job)]
