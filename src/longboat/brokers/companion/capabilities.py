"""What the companion cannot do over any carrier, and why."""

from __future__ import annotations

from longboat.contract.capabilities import WHOLE_CONTRACT, Capability

LACKING = {
    Capability.LIMITS: (
        "The carrier chooses the next message. A blocked one could only go back behind all others, so it would lose its "
        "place, and no lease's end could bring it at once."
    ),
    Capability.FAIRNESS: "The carrier chooses the next message, and it knows no fairness keys.",
    Capability.PLACE: (
        "A parked job is sent round: a worker that knows its task receives it up to a second late, and behind others."
    ),
    Capability.EXACT_COUNTS: (
        "Up to 10,000 jobs are looked at one by one, and counted exactly. Of more, the carrier's own numbers are given: "
        "exact ones would take several more writes at each step of a job."
    ),
    Capability.ORDERED_LISTS: (
        "Up to 10,000 jobs are looked at one by one, and sorted. Of more, pages go by id, except those of dead jobs: an "
        "index of each state would take two more writes at each step of a job."
    ),
}
"""By capability the reason. The first that a clause needs is told."""

CAPABILITIES = (WHOLE_CONTRACT - LACKING.keys()) | {Capability.TIDY}
