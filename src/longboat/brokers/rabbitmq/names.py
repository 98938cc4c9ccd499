"""The names of queues and exchanges, the levels of priority, and the way a delayed message takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from longboat.errors import ConfigError

LEVELS, MOST_LEVELS = 5, 30
"""Levels of priority that each queue has unless the URL says otherwise, and may have: each is a queue of the server's."""

UNIT = 0.02
"""Seconds of the shortest delay queue; each further one holds twice as long."""

ROOM = 255
"""Bytes of a name, a routing key or a message's id in AMQP, at most."""

STEPS = 27
LONGEST = UNIT * (2**STEPS - 1)


def levels(number: int) -> tuple[int, ...]:
    """So many levels, the highest first: two below 0, or fewer where there are few, and the others from 0 up.

    So more levels take none away. Priorities beyond count as the nearest of these.
    """
    below = min(2, (number - 1) // 2)
    return tuple(range(number - 1 - below, -below - 1, -1))


class Names:
    """All begin with `prefix`. The last word says what kind it is, whatever a queue is called."""

    def __init__(self, prefix: str, number: int = LEVELS) -> None:
        """`number`: of levels."""
        self.prefix = prefix
        self.levels = levels(number)
        self.agreed = f"{prefix}.levels"
        """A queue that holds nothing: its arguments say how many levels there are, so that all programs have the same."""
        self.arrivals = f"{prefix}.arrivals"
        """The exchange that leads to the ready queues."""
        self.holding = f"{prefix}.holding"
        """The exchange that leads to what consumers hold in queues of their own."""
        self.ended = f"{prefix}.ended"
        """The exchange that tells listeners the ids of jobs that have ended."""
        self.happens = f"{prefix}.events"
        """The exchange that tells listeners what happens."""
        self.stream = f"{prefix}.kv"
        """The log of all entries, and the queue that says where its newest snapshot begins."""
        self.snapshot = f"{prefix}.kv.snapshot"
        self.nowhere = f"{prefix}.nowhere"
        """There is no such queue: what is published to it tells whether anything can be published."""

    def check(self, queues: Iterable[str], ids: Iterable[str] = ()) -> None:
        """Raises ConfigError where AMQP has no room for the name of a queue, a routing key to it, or an id."""
        for queue in queues:
            over = max(len(f"{self.dead(queue)}.fence".encode()), len(key_of(1, address(queue, -2)).encode())) - ROOM
            if over > 0:
                raise _too_long("queue", queue, len(queue.encode()) - over)
        for name in ids:
            if name != cut(name):
                raise _too_long("id", name, ROOM)

    def level_of(self, priority: int) -> int:
        return max(self.levels[-1], min(self.levels[0], priority))

    def ready(self, queue: str, level: int) -> str:
        return f"{self.prefix}.{queue}.{level}"

    def dead(self, queue: str) -> str:
        return f"{self.prefix}.{queue}.dead"

    def held(self, consumer: str) -> str:
        return f"{self.prefix}.{consumer}.held"

    def is_held(self, name: str) -> bool:
        return name.startswith(f"{self.prefix}.") and name.endswith(".held")

    def ear(self, who: str) -> str:
        """The queue by which a consumer or a listener is told of what others did."""
        return f"{self.prefix}.{who}.ear"

    def mailbox(self, address: str) -> str:
        """The queue by which a process is told how the jobs that it put have ended."""
        return f"{self.prefix}.{address}.mailbox"

    def step(self, number: int) -> str:
        """The delay queue, and the exchange before it, that holds for UNIT * 2**number seconds."""
        return f"{self.prefix}.{number}.delay" if number >= 0 else self.arrivals


def cut(name: str) -> str:
    """An id as the id of a message. Only a job that was moved here may have one that is too long."""
    return name if len(name) <= ROOM / 4 else name.encode()[:ROOM].decode(errors="ignore")


def _too_long(what: str, name: str, room: int) -> ConfigError:
    size = len(name.encode())
    return ConfigError(
        f"{what} {name!r:.60}… has {size} bytes of UTF-8, and RabbitMQ has room for {room}: choose a shorter one"
    )


def address(queue: str, level: int) -> str:
    """The last words of a routing key: one of the queue, one of the level. Escaped is what splits words or matches any."""
    return f"{re.sub('[%.*#]', lambda found: f'%{ord(found[0]):02X}', queue)}.{level}"


def units_of(delay: float) -> int:
    return math.ceil(delay / UNIT)


def key_of(units: int, last: str) -> str:
    """A word for each step, the longest first, then the address. Each exchange looks at its own word."""
    bits = ".".join(str(units >> number & 1) for number in reversed(range(STEPS)))
    return f"{bits}.{last}"


def pattern_of(number: int, bit: int) -> str:
    return "*." * (STEPS - 1 - number) + f"{bit}.#"
