"""Scheduler: fires what is due. Any number may run: each tick has one job id, and the broker keeps what has fired."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.kv import KV, Entry
from longboat.core.job import new_id
from longboat.errors import ConfigError
from longboat.observe.history import decoded, pages
from longboat.tasks.schedule import Schedule, checked

NAMESPACE = "schedule"
STATE = "schedule.state"
STATE_KEPT = 90 * 86400.0
"""Seconds after which a schedule that nobody fired is new again."""
LOOK = 5.0
"""Seconds until a scheduler sees schedules added or changed elsewhere, at most."""
SOON = 1.0
"""The same, if there are any schedules."""


class Fired(msgspec.Struct, array_like=True):
    """How far a schedule has been fired."""

    until: float
    """Ticks up to this wall-clock time are done."""
    last: str = ""
    """The id of the last job."""


_schedules = msgspec.msgpack.Decoder(Schedule)
_fired = msgspec.msgpack.Decoder(Fired)


class Scheduler:
    """`run` fires what is due and says when to call it again. One thread calls it."""

    def __init__(self, broker: Broker, declared: Iterable[Schedule] = ()) -> None:
        self._broker = broker
        self._declared = {schedule.name: schedule for schedule in declared}
        self._stored = False
        self._schedules: list[Schedule] = []
        self._look_at = 0.0

    def run(self, now: float) -> float:
        """Fire what is due at this wall-clock time; returns when to call again, within LOOK. Raises BrokerError."""
        if not self._stored:
            declare(self._broker.kv, self._declared.values())
            self._stored = True
        if now >= self._look_at:
            self._schedules = [each for each in schedules(self._broker.kv) if self._mine(each)]
            self._look_at = now + (SOON if self._schedules else LOOK)
        active = [schedule for schedule in self._schedules if not schedule.paused]
        states = self._broker.kv.read(STATE, [schedule.name for schedule in active]) if active else []
        wake = self._look_at
        for schedule, state in zip(active, states, strict=True):
            wake = min(wake, self._fire(schedule, state, now))
        return wake

    def _mine(self, schedule: Schedule) -> bool:
        return not schedule.declared or schedule.name in self._declared

    def _fire(self, schedule: Schedule, state: bytes | None, now: float) -> float:
        fired = _fired.decode(state) if state is not None else None
        if fired is None:  # seen for the first time: it begins now
            self._keep(schedule.name, Fired(now), None)
            return schedule.next(now)[0]
        due = schedule.due(fired.until, now)
        if schedule.ticks(fired.until, now):
            if due and not (schedule.overlap == "skip" and self._runs(fired.last)):
                jobs = [schedule.job(tick) for tick in due]
                self._broker.put(jobs)
                fired.last = jobs[-1].id
            self._keep(schedule.name, Fired(now, fired.last), state)
        return schedule.next(now)[0]

    def _runs(self, job_id: str) -> bool:
        view = self._broker.inspector.find([job_id])[0] if job_id else None
        return view is not None and not view.state.ended

    def _keep(self, name: str, fired: Fired, old: bytes | None) -> None:
        """If another scheduler has recorded more meanwhile, its record stays: its jobs are these jobs."""
        self._broker.kv.compare_and_set(STATE, Entry(name, msgspec.msgpack.encode(fired), STATE_KEPT), old=old)


def schedules(kv: KV) -> list[Schedule]:
    """All schedules, by name. One that cannot be read, say from another version, does not stop the others from firing."""
    found = (decoded(value, Schedule) for entries in pages(kv, NAMESPACE) for _, value in entries)
    return [schedule for schedule in found if schedule is not None]


def declare(kv: KV, declared: Collection[Schedule]) -> None:
    """Write the schedules in an app's code; paused ones stay paused. Raises ConfigError for a name in use."""
    known = kv.read(NAMESPACE, [schedule.name for schedule in declared]) if declared else []
    changed = []
    for schedule, value in zip(declared, known, strict=True):
        old = _schedules.decode(value) if value is not None else None
        if old is not None and not old.declared:
            raise ConfigError(
                f"schedule {schedule.name!r} in the code has the name of one that was added by hand; rename one of them"
            )
        new = msgspec.structs.replace(schedule, paused=old.paused if old else schedule.paused)
        if new != old:
            changed.append(Entry(schedule.name, msgspec.msgpack.encode(new)))
    if changed:
        kv.write(NAMESPACE, changed)


def add(kv: KV, schedule: Schedule) -> bool:
    """Keep a new schedule; False if there is one of that name. Raises ConfigError for one that makes no sense."""
    return kv.put_if_absent(NAMESPACE, [Entry(checked(schedule).name, msgspec.msgpack.encode(schedule))])[0]


def get(kv: KV, name: str) -> Schedule | None:
    value = kv.read(NAMESPACE, [name])[0]
    return None if value is None else _schedules.decode(value)


def pause(kv: KV, name: str, paused: bool, now: float) -> bool:
    """False if there is no such schedule. Ticks that fall in a pause are not made up for."""
    if not paused and (state := last_fired(kv, [name]).get(name)):  # it starts afresh: nothing is made up for
        kv.write(STATE, [Entry(name, msgspec.msgpack.encode(Fired(now, state.last)), STATE_KEPT)])
    while (value := kv.read(NAMESPACE, [name])[0]) is not None:
        changed = msgspec.structs.replace(_schedules.decode(value), paused=paused)
        if kv.compare_and_set(NAMESPACE, Entry(name, msgspec.msgpack.encode(changed)), old=value):
            return True
    return False


def run_now(broker: Broker, name: str, now: float) -> str | None:
    """Enqueue a job of it, in addition to its ticks; the job's id. None if there is no such schedule."""
    schedule = get(broker.kv, name)
    if schedule is None:
        return None
    job = schedule.job(now)
    job.id = new_id()
    broker.put([job])
    return job.id


def remove(kv: KV, name: str) -> bool:
    """False if there was none. One in an app's code comes back when a worker with that code starts."""
    there = kv.read(NAMESPACE, [name])[0] is not None
    kv.write(NAMESPACE, [Entry(name, None)])
    kv.write(STATE, [Entry(name, None)])
    return there


def last_fired(kv: KV, names: Collection[str]) -> dict[str, Fired]:
    """How far these have been fired, if they have."""
    values = kv.read(STATE, list(names)) if names else []
    return {name: _fired.decode(value) for name, value in zip(names, values, strict=True) if value is not None}
