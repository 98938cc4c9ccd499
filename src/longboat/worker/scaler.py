"""Scaler: how many worker processes there should be, by how long jobs wait. Pure: times and loads come in."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from longboat.errors import ConfigError

LONG_WAIT = 2.0
"""Seconds that the last of the ready jobs would wait at the present rate: more calls for another process."""
PATIENCE = 2.0
"""Seconds for which that must last."""
IDLE = 15.0
"""Seconds for which fewer processes must suffice before one leaves."""
SETTLING = 3.0
"""Seconds after a change in which none is added: new processes take a while to be of use."""
ENOUGH = 0.6
"""Fewer processes suffice if they would be busy for less than this part of their time."""


class Load(msgspec.Struct):
    """What one worker process reports each second."""

    ready: int
    """Jobs ready in the queues it serves."""
    rate: float
    """Attempts it ended in a second, lately."""
    busy: float
    """Part of its slots in use, from 0 to 1."""

    def said(self) -> str:
        return f"{self.ready} {self.rate:.6g} {self.busy:.4f}"


def heard(text: str) -> Load:
    """A load from what `said` gave."""
    ready, rate, busy = text.split()
    return Load(int(ready), float(rate), float(busy))


class Scaler:
    """Adds quickly, takes away slowly, and never the last change back at once."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most
        self._pressed_since: float | None = None
        self._idle_since: float | None = None
        self._settled = 0.0

    def wanted(self, now: float, loads: Collection[Load], running: int) -> int:
        """The number of processes there should be now; `loads` are those of the processes that have reported one."""
        target = min(max(running, self.least), self.most)
        if not loads or now < self._settled:
            return target
        ready, rate = max(load.ready for load in loads), sum(load.rate for load in loads)
        pressed = ready > 0 and ready > rate * LONG_WAIT
        busy = sum(load.busy for load in loads) / max(1, running - 1)
        self._pressed_since = (self._pressed_since or now) if pressed else None
        self._idle_since = (self._idle_since or now) if not pressed and busy < ENOUGH else None
        if self._pressed_since is not None and now - self._pressed_since >= PATIENCE and running < self.most:
            return self._changed(now, min(self.most, running + max(1, running // 2)))
        if self._idle_since is not None and now - self._idle_since >= IDLE and running > self.least:
            return self._changed(now, running - 1)
        return target

    def one_less(self, running: int) -> None:
        """A process was told to leave for good: no other takes its place beside the `running` ones."""
        self.most -= 1
        self.least = min(self.least, running)

    def _changed(self, now: float, target: int) -> int:
        self._pressed_since = self._idle_since = None
        self._settled = now + SETTLING
        return target


def bounds(text: str) -> tuple[int, int]:
    """The numbers in "1-8". Raises ConfigError."""
    least, dash, most = text.partition("-")
    if not dash or not least.isdecimal() or not most.isdecimal() or not 1 <= int(least) <= int(most):
        raise ConfigError(f"scale: {text!r} must be the least and the most worker processes, such as 1-8")
    return int(least), int(most)
