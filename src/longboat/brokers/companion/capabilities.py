"""What the companion cannot do over any carrier, and why."""

from __future__ import annotations

from longboat.contract.capabilities import WHOLE_CONTRACT, Capability

_PUSHED = "The carrier decides which message comes next, so it would have to judge limits and fairness keys itself."

LACKING = {
    Capability.LIMITS: _PUSHED,
    Capability.FAIRNESS: _PUSHED,
    Capability.PLACE: "A parked job goes round: a worker that knows its task receives it up to a second late.",
    Capability.EXACT_COUNTS: (
        "Up to 10,000 jobs are counted exactly, one by one. Of more, the carrier's own numbers are given: exact ones would "
        "take several more writes at each step of a job."
    ),
    Capability.ORDERED_LISTS: (
        "Up to 10,000 jobs are sorted, one by one. Of more, pages go by ids, except those of dead jobs."
    ),
}
"""By capability the reason. The first that a clause needs is told."""

CAPABILITIES = (WHOLE_CONTRACT - LACKING.keys()) | {Capability.TIDY}
