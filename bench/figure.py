"""Figure: one measured number beside its goal, and the other side of the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

Tell = Callable[[str], None]
"""Says what is measured now."""


@dataclass
class Plan:
    """How much is measured. `quick` is for trying the bench out: its figures are not to be quoted. `shared`: other programs
    use the machine meanwhile."""

    repeat: int = 3
    quick: bool = False
    shared: bool = False


@dataclass
class Figure:
    """`samples` are what the goal judges, by their median; `ours` and `peer` are what they were made of, where they are
    ratios. `least`: the goal is a lower bound, else an upper one."""

    name: str
    unit: str
    samples: Sequence[float]
    goal: float | None = None
    least: bool = True
    ours: Sequence[float] = field(default_factory=list)
    peer: Sequence[float] = field(default_factory=list)
    peer_name: str = ""
    side_unit: str = ""
    entry: str = ""

    @property
    def value(self) -> float:
        return median(self.samples)

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.least else self.value <= self.goal


def ratio(
    name: str,
    ours: Sequence[float],
    peer: Sequence[float],
    peer_name: str,
    side_unit: str,
    *,
    goal: float | None = None,
    least: bool = True,
    entry: str = "",
) -> Figure:
    """Ours through theirs, pair by pair: both of a pair ran one after the other, on the machine as it was then."""
    samples = [a / b for a, b in zip(ours, peer, strict=True)]
    return Figure(name, "of it", samples, goal, least, ours, peer, peer_name, side_unit, entry)
