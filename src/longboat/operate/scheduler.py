"""Scheduler: fires what is due. Any number may run: each tick has one job id, and the broker keeps what has fired."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.contract.kv import KV, Entry
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import new_id
from longboat.errors import BrokerUnavailable, Undecodable, Unsupported
from longboat.observe.history import pages, workers
from longboat.operate.unique import put_one
from longboat.tasks.limits import UniqueKey
from longboat.tasks.schedule import ON_TIME, Schedule, checked

log = logging.getLogger("longboat.scheduler")

NAMESPACE = "schedule"
STATE = "schedule.state"
STATE_KEPT = 90 * 86400.0
"""Seconds after which a schedule that nobody fired is new again."""
CLAIMS = "schedule.claims"
CLAIM_KEPT = 5.0
"""Seconds after which a tick is another's to fire, if who claimed it has not said that it is done."""
AGAIN = 1.0
"""Seconds until a scheduler looks again at a tick that another one claimed."""
FAR = 1e11
"""No time is later than this, in seconds."""
LOOK = 5.0
"""Seconds until a scheduler sees schedules added or changed elsewhere, at most."""
MISSED = 60.0
"""Seconds after which a tick that nobody fired is missed: schedulers need some, and a restart of a worker some more."""
SOON = 1.0
"""The same, if there are any schedules."""


class Fired(msgspec.Struct, array_like=True):
    """How far a schedule has been fired."""

    until: float
    """Ticks up to this wall-clock time are done."""
    last: str = ""
    """The id of the last job."""
    rule: str = ""
    """The rule that stood then. What was due until a scheduler sees another one is judged by it."""
    tz: str = ""


class Listed(msgspec.Struct):
    """A schedule as it is shown to people."""

    name: str
    schedule: Schedule | None
    """None if it cannot be read here."""
    rule: str
    """In English."""
    due: list[float]
    """The next times at which it is due; none if it is paused or not fired."""
    last: str
    """The id of its last job."""
    problem: str = ""
    """Why it is not fired, or its jobs do not run."""

    def data(self, args: Any) -> dict[str, Any]:
        """As JSON shows it; `args`: its arguments, decoded."""
        fields = msgspec.structs.asdict(self.schedule) if self.schedule else {}
        for name in ("payload", "constraints", "unique"):
            fields.pop(name, None)
        due, last = self.due[0] if self.due else None, self.last or None
        return {"name": self.name, **fields, "args": args, "next": due, "last": last, "problem": self.problem or None}


class Scheduler:
    """`run` fires what is due and says when to call it again. One thread calls it."""

    def __init__(
        self, broker: Broker, declared: Iterable[Schedule] = (), tasks: Collection[str] = (), queues: Collection[str] = ()
    ) -> None:
        """`declared`, `tasks`: those in the code here. `queues`: those served here; none means all."""
        self._broker = broker
        self._declared = {schedule.name: schedule for schedule in declared}
        self._code = {*tasks, *map(_module, tasks)}
        self._queues = queues
        self._stored = False
        self._schedules: list[Schedule] = []
        self._look_at = 0.0
        self._told: dict[str, str] = {}

    def run(self, now: float) -> float:
        """Fire what is due at this wall-clock time; returns when to call again, within LOOK. Raises BrokerError.

        Each schedule is judged by itself: one that cannot be fired is logged once, and the others are fired.
        """
        if not self._stored:
            for name in declare(self._broker.kv, self._declared.values()):
                self._tell(name, "one that was added by hand has the name of this one in the code: rename one of them")
            self._stored = True
        if now >= self._look_at:
            self._look()
            self._look_at = now + (SOON if self._schedules else LOOK)
        states = self._broker.kv.read(STATE, [schedule.name for schedule in self._schedules]) if self._schedules else []
        wake = self._look_at
        for schedule, state in zip(self._schedules, states, strict=True):
            try:
                wake = min(wake, self._fire(schedule, state, now))
            except BrokerUnavailable:
                raise
            except Exception as error:
                self._tell(schedule.name, problem_of(schedule) or str(error))
        return wake

    def _look(self) -> None:
        self._schedules = []
        for name, found in stored(self._broker.kv):
            if isinstance(found, Undecodable):
                self._tell(name, str(found))
            elif not found.paused and (self._mine(found) or self._left(found)):
                if problem := unable(self._broker, found):
                    self._tell(name, problem)
                else:
                    self._schedules.append(found)

    def _mine(self, schedule: Schedule) -> bool:
        return not schedule.declared or schedule.name in self._declared

    def _left(self, schedule: Schedule) -> bool:
        """Whether the code here is the schedule's, but no longer has it."""
        served = not self._queues or schedule.queue in self._queues
        return served and (schedule.task in self._code or _module(schedule.task) in self._code)

    def _fire(self, schedule: Schedule, state: bytes | None, now: float) -> float:
        """Enqueue what is due; returns when it is due next."""
        name, rule, tz = schedule.name, schedule.rule, schedule.tz
        # Without a state, or with one that nobody can read, it begins now.
        fired = _readable(state) or Fired(now)
        stood = replace(schedule, rule=fired.rule, tz=fired.tz) if fired.rule else schedule
        if not self._mine(schedule):
            if _next(stood, fired.until) <= now - ON_TIME:  # nobody was there to fire it: it begins anew once it comes back
                self._keep(name, Fired(now - ON_TIME, fired.last, rule, tz), state)
            return math.inf
        if (fired.rule, fired.tz) == (rule, tz) and (following := _next(schedule, fired.until)) > now:
            return following
        due = stood.due(fired.until, now) if not problem_of(stood) else []
        if due and not self._claims(name, due[-1]):
            return now + AGAIN
        key = schedule.unique
        if schedule.overlap == "skip" and not self._finds:
            key = key or UniqueKey(f"schedule:{name}")
        if due and not (schedule.overlap == "skip" and self._finds and self._runs(fired.last)):
            jobs = [schedule.job(tick) for tick in due]
            if key is None:
                self._broker.put(jobs)
            else:
                for job in jobs:
                    put_one(self._broker, job, key)
            fired.last = jobs[-1].id
        self._keep(name, Fired(now, fired.last, rule, tz), state)
        return _next(schedule, now)

    def _claims(self, name: str, tick: float) -> bool:
        """Whether this process may fire it. Where a job's id is recognised anybody may: it is one job all the same."""
        if Capability.IDS in self._broker.capabilities:
            return True
        return self._broker.kv.put_if_absent(CLAIMS, [Entry(f"{name} {tick}", b"", CLAIM_KEPT)])[0]

    @property
    def _finds(self) -> bool:
        """Whether the last job can be looked up; else it holds a unique key until it ends."""
        return Capability.LOOKUP in self._broker.capabilities

    def _runs(self, job_id: str) -> bool:
        view = self._broker.inspector.find([job_id])[0] if job_id else None
        return view is not None and not view.state.ended

    def _keep(self, name: str, fired: Fired, old: bytes | None) -> None:
        """If another scheduler has recorded more meanwhile, its record stays: its jobs are these jobs."""
        self._broker.kv.compare_and_set(STATE, Entry(name, msgspec.msgpack.encode(fired), STATE_KEPT), old=old)

    def _tell(self, name: str, problem: str) -> None:
        if self._told.get(name) != problem:
            self._told[name] = problem
            log.error("schedule %s is not fired: %s", name, problem)


def stored(kv: KV) -> Iterator[tuple[str, Schedule | Undecodable]]:
    """All schedules, by name; for one that cannot be read here, say from another version, why."""
    for entries in pages(kv, NAMESPACE):
        for name, value in entries:
            try:
                yield name, _read(name, value)
            except Undecodable as error:
                yield name, error


def listed(broker: Broker, now: float, count: int = 1) -> list[Listed]:
    """All schedules, by name, each with the next `count` times at which it is due."""
    kv = broker.kv
    found = dict(stored(kv))
    fired, records = last_fired(kv, found), workers(kv)
    coded, known = {name for each in records for name in each.schedules}, {name for each in records for name in each.tasks}
    shown = []
    for name, schedule in found.items():
        last = fired[name].last if name in fired else ""
        if isinstance(schedule, Undecodable):
            shown.append(Listed(name, None, "", [], last, str(schedule)))
            continue
        each = Listed(name, schedule, schedule.rule, [], last, problem_of(schedule) or unable(broker, schedule))
        shown.append(each)
        if not each.problem:
            each.rule = schedule.explain()
            if schedule.declared and name not in coded:
                each.problem = "no living worker has it in its code"
                continue
            if schedule.task not in known:
                each.problem = f"no living worker knows task {schedule.task}"
            if not schedule.paused:
                each.due = schedule.next(now, count)
    return shown


def missed(schedule: Schedule, fired: Fired, now: float) -> float | None:
    """The first tick that was due more than MISSED seconds ago and has not been fired; None if there is none."""
    stood = replace(schedule, rule=fired.rule, tz=fired.tz) if fired.rule else schedule
    due = math.inf if problem_of(stood) else _next(stood, fired.until)
    return due if due < now - MISSED else None


def problem_of(schedule: Schedule) -> str:
    """What is wrong with it, such as a time zone that this machine does not know; empty if nothing is."""
    try:
        checked(schedule).explain()
        schedule.next(SYSTEM.now())
    except Exception as error:  # what stands there may be anything
        return str(error) or type(error).__name__
    return ""


def unable(broker: Broker, schedule: Schedule) -> str:
    """What this broker cannot do that the schedule needs; empty if it can do all."""
    able, its = broker.capabilities, schedule.constraints
    if Capability.LIMITS not in able:
        if schedule.overlap == "wait":
            return 'overlap="wait" needs limits, which this broker does not have: choose "skip" or "allow"'
        if its and its.limits:
            return "its task has limits, which this broker does not have"
    if Capability.FAIRNESS not in able and its and its.fairness_key:
        return "its task has fair_by, which this broker does not have"
    key = schedule.unique
    if schedule.overlap == "skip" and key and Capability.LOOKUP not in able and (key.until_started or key.window):
        return 'on this broker overlap="skip" does not go with a unique rule that may end before the job does'
    return ""


def unfireable(broker: Broker) -> list[tuple[str, str]]:
    """The schedules that are not paused and cannot be fired, and why."""
    found = []
    for name, each in stored(broker.kv):
        if isinstance(each, Undecodable):
            found.append((name, str(each)))
        elif not each.paused and (problem := problem_of(each) or unable(broker, each)):
            found.append((name, problem))
    return found


def declare(kv: KV, declared: Collection[Schedule]) -> list[str]:
    """Write the schedules in an app's code; paused ones stay paused. Returns the names that others have, added by hand."""
    known = kv.read(NAMESPACE, [schedule.name for schedule in declared]) if declared else []
    changed, in_use = [], []
    for schedule, value in zip(declared, known, strict=True):
        old = codec.decoded(value, Schedule)
        if old is not None and not old.declared:
            in_use.append(schedule.name)
            continue
        new = replace(schedule, paused=old.paused if old else schedule.paused)
        if new != old:
            changed.append(Entry(schedule.name, msgspec.msgpack.encode(new)))
    if changed:
        kv.write(NAMESPACE, changed)
    return in_use


def add(broker: Broker, schedule: Schedule) -> bool:
    """Keep a new schedule; False if there is one of that name.

    Raises ConfigError for one that makes no sense, and Unsupported for one that the broker cannot fire.
    """
    if problem := unable(broker, schedule):
        raise Unsupported(f"schedule {schedule.name!r}: {problem}")
    return broker.kv.put_if_absent(NAMESPACE, [Entry(checked(schedule).name, msgspec.msgpack.encode(schedule))])[0]


def pause(kv: KV, name: str, paused: bool, now: float) -> bool:
    """False if there is no such schedule. Ticks that fall in a pause are not made up for. Raises Undecodable."""
    if not paused and (state := last_fired(kv, [name]).get(name)):  # it starts afresh: nothing is made up for
        kv.write(STATE, [Entry(name, msgspec.msgpack.encode(Fired(now, state.last)), STATE_KEPT)])
    while (value := kv.read(NAMESPACE, [name])[0]) is not None:
        changed = replace(_read(name, value), paused=paused)
        if kv.compare_and_set(NAMESPACE, Entry(name, msgspec.msgpack.encode(changed)), old=value):
            return True
    return False


def run_now(broker: Broker, name: str, now: float) -> str | None:
    """Enqueue a job of it, in addition to its ticks; the job's id. None if there is no such schedule. Raises Undecodable."""
    value = broker.kv.read(NAMESPACE, [name])[0]
    if value is None:
        return None
    schedule = _read(name, value)
    job = schedule.job(now)
    job.id = new_id()
    put_one(broker, job, schedule.unique)
    return job.id


def remove(kv: KV, name: str) -> bool:
    """False if there was none. One in an app's code comes back when a worker with that code starts."""
    there = kv.read(NAMESPACE, [name])[0] is not None
    kv.write(NAMESPACE, [Entry(name, None)])
    kv.write(STATE, [Entry(name, None)])
    return there


def last_fired(kv: KV, names: Collection[str]) -> dict[str, Fired]:
    """How far these have been fired, as far as that is known."""
    values = kv.read(STATE, list(names)) if names else []
    return {name: fired for name, value in zip(names, values, strict=True) if (fired := _readable(value)) is not None}


def _read(name: str, value: bytes) -> Schedule:
    try:
        schedule: Schedule = codec.decode(value, Schedule)
    except Undecodable as error:
        raise Undecodable(f"it cannot be read here ({error}): remove schedule {name!r}, and add it again") from None
    return schedule


def _readable(value: bytes | None) -> Fired | None:
    fired = codec.decoded(value, Fired)
    return fired if fired is not None and abs(fired.until) < FAR else None


def _next(schedule: Schedule, after: float) -> float:
    return next(iter(schedule.next(after)), math.inf)


def _module(task: str) -> str:
    """The part of a task's name that the tasks of one module share; the name itself if it has no such part."""
    return task.rpartition(".")[0] or task
