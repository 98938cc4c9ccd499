"""The contract for housekeeping: what a broker does now and then, driven by the maintenance loop of every worker."""

from __future__ import annotations

from typing import Protocol


class Tidy(Protocol):
    """Housekeeping in small portions. Any number of workers may call it at once; each finds what the others left.

    A server that keeps house by itself, as RabbitMQ does, has no such method.
    """

    def tidy(self, budget: float) -> float:
        """Do what is due, for about `budget` seconds at most.

        Jobs of dead consumers come back, delays and patience end, what has expired is cancelled, limits with room unblock
        jobs, and what is kept too long or too much is pruned. Returns the seconds after which there may be more to do: 0.0
        when the budget ended first. Raises BrokerUnavailable.
        """
        ...
