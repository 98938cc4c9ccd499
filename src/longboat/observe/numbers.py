"""How many jobs there are by queue and state, as far as that is known.

Where a broker cannot count those that run, the workers tell how many they have. What nobody tells is None, never 0.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.job import State
from longboat.errors import Unsupported
from longboat.observe.history import workers

LENGTHS = frozenset({State.READY, State.DEAD})
"""What a broker counts that knows the lengths of its queues only."""


class Numbers(msgspec.Struct, frozen=True):
    """The jobs of all queues."""

    counts: dict[tuple[str, State], int] = {}
    known: frozenset[State] = frozenset()
    """In these states there are none where `counts` has no number."""

    @property
    def queues(self) -> set[str]:
        """The names of those with jobs."""
        return {queue for queue, _ in self.counts}

    def of(self, queue: str, state: State) -> int | None:
        """None: not known."""
        return self.counts.get((queue, state), 0 if state in self.known else None)

    def total(self, state: State, queues: Collection[str] = ()) -> int | None:
        """Of these queues; of all if none is named. None: not known."""
        if queues:
            found = [n for queue in set(queues) if (n := self.counts.get((queue, state))) is not None]
        else:
            found = [n for (_, its), n in self.counts.items() if its is state]
        return sum(found) if found or state in self.known else None


def numbers(broker: Broker) -> Numbers:
    """Raises BrokerError; Unsupported if the broker tells no numbers at all."""
    counts = dict(broker.inspector.counts())
    if Capability.COUNTS in broker.capabilities:
        return Numbers(counts, frozenset(State))
    known = LENGTHS
    with contextlib.suppress(Unsupported):
        running = Counter[tuple[str, State]]()
        for record in workers(broker.kv):
            running.update({(queue, State.RUNNING): n for queue, n in record.leased.items()})
        known |= {State.RUNNING}
        if running.total() >= sum(n for (_, state), n in counts.items() if state is State.RUNNING):
            counts = {place: n for place, n in counts.items() if place[1] is not State.RUNNING} | running
    return Numbers(counts, known)
