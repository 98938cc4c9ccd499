"""Drain: how many jobs come into a queue and end there per second, and how long it takes until it is empty."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.contract.kv import KV
from longboat.core.job import State
from longboat.observe import depth
from longboat.observe.depth import Taken
from longboat.observe.history import GRAINS, Grain, recent
from longboat.observe.numbers import Numbers
from longboat.observe.pace import paces
from longboat.observe.tally import Slice
from longboat.observe.words import rate, span

QUEUED = (State.READY, State.WAITING)
DUE = (*QUEUED, State.RUNNING)
"""What there is to do. A scheduled job counts once it is due."""
NOW = 10.0
"""Seconds that rates cover."""
AGE = 8.0
"""Seconds that must have passed since jobs were counted, to tell how many have come."""
ENOUGH = 5
"""Attempts that must have ended in that time, and twice as many as run: of slow jobs many may end at once, and then none."""
MINUTE, SLOW = 60.0, 900.0
"""Seconds by which a queue of slow jobs is judged, and one of very slow ones."""
EVEN = 0.01
"""Rates that differ by less than this part are the same."""


class Drain(msgspec.Struct, frozen=True):
    """How a queue fills and empties."""

    due: int | None = None
    """Jobs that are ready, waiting or running; None: not known."""
    queued: int | None = None
    """Those of them that do not run."""
    coming: float | None = None
    """Jobs that became due, per second: new ones, and those whose delay was over. None: not known."""
    ending: float | None = None
    """Attempts that ended, per second."""
    over: float = NOW
    """The seconds that these rates cover, about."""
    stopped: str = ""
    """Why no job can start whatever the rates were, such as a pause."""

    @property
    def empty_in(self) -> float | None:
        """Seconds until no job is due, at these rates; None: never, or not known."""
        if self.due == 0:
            return 0.0
        if self.due is None or self.coming is None or self.ending is None:
            return None
        if self.stopped and self.queued:
            return None
        net = self.ending - self.coming
        return self.due / net if net > EVEN * self.ending else None

    @property
    def uncertain(self) -> bool:
        """Whether so few attempts ended that their number tells little."""
        running = (self.due or 0) - (self.queued or 0)
        return bool(self.queued) and (self.ending or 0.0) * self.over < max(ENOUGH, 2 * running)

    @property
    def outlook(self) -> str:
        """How long until it is empty, in a few words."""
        if self.due is None or self.queued is None:
            return "how many jobs it has is not known"
        if not self.queued:
            return "nothing waits" if self.due else "empty"
        if self.stopped:
            return f"never empty: {self.stopped}"
        if self.coming is None or self.ending is None:
            why = "this broker keeps no history" if self.ending is None else "nobody counted its jobs in the last minute"
            return f"how long it takes is not known: {why}"
        if self.queued <= self.ending and self.coming <= self.ending * (1 + EVEN):
            return "keeping up"
        if (left := self.empty_in) is not None:
            return f"empty in about {span(left)}"
        if self.coming > self.ending * (1 + EVEN):
            return f"growing by {rate(self.coming - self.ending)}"
        why = "as many jobs come as end" if self.ending else f"nothing has ended in the last {span(self.over)}"
        return f"never empty at this rate: {why}"

    def data(self) -> dict[str, float | str | None]:
        """As JSON shows it."""
        told = {"in": self.coming, "out": self.ending, "over": self.over, "empty_in": self.empty_in}
        return {**told, "outlook": self.outlook}


def drains(broker: Broker, found: Numbers, now: float, lately: Callable[[], Slice] | None = None) -> dict[str, Drain]:
    """By name, the queues that have jobs or had attempts just now. Raises BrokerError.

    `lately`: the outcomes of the last SLOW seconds, for who has them.
    """
    if Capability.KV not in broker.capabilities:
        return {queue: drain(found, queue, None, None, now) for queue in found.queues}
    kv = broker.kv
    ending: dict[str, float] = {}
    for (queue, _), pace in paces(kv, now).items():
        ending[queue] = ending.get(queue, 0.0) + pace.ended
    then = depth.lately(kv, now, AGE)
    made = {queue: drain(found, queue, then, ending.get(queue, 0.0), now) for queue in found.queues | ending.keys()}
    for length in (MINUTE, SLOW):
        if slow := [queue for queue, each in made.items() if each.uncertain]:
            made |= over(kv, found, slow, GRAINS[0], now - length, now, lately if length == SLOW else None)
    return made


def over(
    kv: KV,
    found: Numbers,
    queues: Collection[str],
    grain: Grain,
    since: float,
    now: float,
    lately: Callable[[], Slice] | None = None,
) -> dict[str, Drain]:
    """These queues since this time, or since the first sample after it; none if that is too near.

    `lately`: the outcomes since then, for who has them. Raises Unsupported where no history is kept.
    """
    first = depth.first(kv, grain, since)
    if first is None or (length := now - first.at) <= NOW:
        return {}
    whole = first.at < since + 2 * grain.width
    ended = dict.fromkeys(queues, 0)
    for (queue, _), tally in (lately() if lately and whole else recent(kv, first.at, now + 1, grain)).items():
        if queue in ended:
            ended[queue] += tally.ended
    return {queue: drain(found, queue, first, count / length, now, length) for queue, count in ended.items()}


def drain(found: Numbers, queue: str, then: Taken | None, ending: float | None, now: float, length: float = NOW) -> Drain:
    """The queue, of which so many attempts ended per second; how many jobs came follows from how many there are more."""
    due, queued = (_count(found, queue, states) for states in (DUE, QUEUED))
    before = then.of(queue, DUE) if then is not None else None
    coming = None
    if then is not None and ending is not None and due is not None and before is not None:
        coming = max(0.0, ending + (due - before) / max(1.0, now - then.at))
    return Drain(due, queued, coming, ending, length)


def _count(found: Numbers, queue: str, states: tuple[State, ...]) -> int | None:
    known = [n for state in states if (n := found.of(queue, state)) is not None]
    return sum(known) if known else None
