"""What RabbitMQ cannot do, alone and as a carrier, and why."""

from __future__ import annotations

from longboat.contract import capabilities
from longboat.contract.capabilities import WHOLE_CONTRACT, Capability
from longboat.errors import Unsupported

_ORDER = (
    "The server keeps the order. Priorities have a fixed number of levels, and a job that was delayed, tried again or "
    "parked, or that a worker gives back while others are ready, stands behind the others of its level."
)
_PUSHED = "The server chooses the next message, and it knows neither limits nor fairness keys."
_NOT_TOLD = "The server tells its clients of no queues, so a worker names those it wants."
_LONG = "Delays go through a fixed number of delay queues."
_BY_ID = "A queued or running message cannot be found by an id, and nothing is left of it when its job has ended."
_RESULTS = "A result is told to the process that enqueued the job, while that lives, and is kept nowhere."
_COUNTS = "Only ready and dead jobs of known queues are counted; running, scheduled and ended ones are not."
_LISTS = "Only dead jobs of known queues can be listed."

LACKING_AS_CARRIER = {
    Capability.PRIORITY: _ORDER,
    Capability.PLACE: _ORDER,
    Capability.EVERY_QUEUE: _NOT_TOLD,
    Capability.LONG_DELAYS: _LONG,
}
"""By capability the reason why no broker over this carrier has it. The first that a clause needs is told."""

LACKING = {
    Capability.TRANSFER: "What is queued cannot be taken out by its id, nor is anything remembered of what came in.",
    Capability.DEPENDENCIES: (
        "A message cannot wait for others. What comes after exactly one other job of the same put travels in its message."
    ),
    Capability.IDS: "Nothing is known of a message that was put before: ids are not remembered.",
    Capability.TOKENS: "Nothing is known of a message that was put before: the tokens of puts are not remembered.",
    Capability.RESULTS: _RESULTS,
    Capability.LIMITS: _PUSHED,
    Capability.FAIRNESS: _PUSHED,
    Capability.PRIORITY: _ORDER,
    Capability.PLACE: _ORDER,
    Capability.EVERY_QUEUE: _NOT_TOLD,
    Capability.LOOKUP: (
        f"{_BY_ID} What these clauses check otherwise, such as attempts and refused settlements, "
        "tests/faults/test_rabbitmq_holding.py checks without looking anything up."
    ),
    Capability.CANCEL: f"{_BY_ID} A cancelled one is ended by the worker that it comes to.",
    Capability.PURGE: "Only ready and dead jobs of known queues can be purged.",
    Capability.COUNTS: _COUNTS,
    Capability.EXACT_COUNTS: _COUNTS,
    Capability.LISTS: _LISTS,
    Capability.ORDERED_LISTS: _LISTS,
    Capability.CONSUMERS: "Nothing is known of other consumers.",
    Capability.EVICT: (
        "`evict` is for the dead: it does not end a consumer that lives, and does not know how many messages the server "
        "itself took back from one that died."
    ),
    Capability.DEATHS: "The server counts a close as a return like any other.",
    Capability.LONG_DELAYS: _LONG,
}
"""The same of messages alone."""

CAPABILITIES = (WHOLE_CONTRACT - LACKING.keys()) | {Capability.DIAGNOSE, Capability.BROADCAST, Capability.REVOKE_ALL}
AS_CARRIER = (WHOLE_CONTRACT - LACKING_AS_CARRIER.keys()) | {Capability.DIAGNOSE}

_STORE = "A store beside it can: ?results=redis://…"


def unsupported(capability: Capability, what: str = "") -> Unsupported:
    """The error for a call that needs this. It names the store where one would help."""
    helps = capability not in LACKING_AS_CARRIER and capability not in (Capability.LIMITS, Capability.FAIRNESS)
    return capabilities.unsupported(capability, "RabbitMQ", what=what, instead=_STORE if helps else "")
