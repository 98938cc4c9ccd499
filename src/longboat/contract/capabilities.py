"""What a broker can do beyond its five verbs. Each broker declares it; clauses, commands and pages ask for it by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NoReturn, Protocol

from longboat.errors import Unsupported


class Capability(StrEnum):
    """One thing that a broker can do, or cannot. `sentence` completes "this broker can …"."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Capability:
        made = str.__new__(cls, name)
        made._value_ = name
        made.sentence = sentence
        return made

    IDS = "ids", "recognise an id that was put before, so that no second job is made of it"
    TOKENS = "tokens", "recognise a put that is tried again, so that no second job is made by it"
    PRIORITY = "priority", "order jobs by any 32-bit priority"
    PLACE = "place", "give a job that was delayed, tried again or handed back its old place in the queue"
    EVERY_QUEUE = "every_queue", "serve every queue to a worker that names none"
    WAKE = "wake", "wake a waiting worker within 5 ms of a put, without polling"
    PAUSE = "pause", "withhold the jobs of a paused queue from a worker"
    EXPIRY = "expiry", "cancel a job that has not started in time"
    LONG_DELAYS = "long_delays", "delay a job for any length of time"
    PARKING = "parking", "keep a job whose task no worker here knows for a worker that knows it"
    EVICT = "evict", "take the jobs of a dead worker back at once, and say how many they are"
    STARTS = "starts", "count a worker's death as an attempt of the jobs that it had started, and of no others"
    DEATHS = "deaths", "count how often a worker died while it held a job"
    DEAD_JOBS = "dead_jobs", "keep dead jobs with their failures, list them and retry them"
    REPLIES = "replies", "tell the process that enqueued a job how it ended, while that process lives"
    RESULTS = "results", "keep the results of jobs for whoever asks"
    PUSH = "push", "tell a waiting client of a result within 5 ms"
    LOOKUP = "lookup", "look up a job by its id, whatever its state"
    QUEUE_LENGTHS = "queue_lengths", "count the ready and the dead jobs of a queue"
    COUNTS = "counts", "count jobs by queue in every state"
    EXACT_COUNTS = "exact_counts", "count any number of jobs exactly, without looking at each of them"
    LISTS = "lists", "list the jobs in any state"
    ORDERED_LISTS = "ordered_lists", "list jobs in the order in which they will run or have ended"
    CONSUMERS = "consumers", "list the workers that hold leases, beside those that tell of themselves"
    REVOKE = "revoke", "cancel a job by the time that a worker comes to it"
    CANCEL = "cancel", "cancel a queued job at once, and say whether it had ended"
    PURGE = "purge", "delete jobs in any state"
    CHAINS = "chains", "run a job after one other that is enqueued with it"
    DEPENDENCIES = "dependencies", "run a job after several others, or after one that was enqueued before"
    LIMITS = "limits", "limit how many jobs run at the same time or start in a period"
    FAIRNESS = "fairness", "let the jobs of several fairness keys take turns"
    KV = "kv", "keep what is not a job: schedules, pauses, progress, logs, the records of workers"
    TRANSFER = "transfer", "move jobs from and to other brokers"
    TIDY = "tidy", "do its housekeeping within a budget of time"
    TRANSACTIONAL = "transactional", "put jobs within the transaction of a database connection of yours"
    DIAGNOSE = "diagnose", "examine its store for `longboat doctor`"
    MIGRATE = "migrate", "plan and run the migrations of its store"
    BROADCAST = "broadcast", "tell what happens to those who listen just now, and keep nothing of it"
    REVOKE_ALL = "revoke_all", "cancel all jobs of a queue or a task by the time that a worker comes to them"


EXTRAS = frozenset(
    {
        Capability.TIDY,
        Capability.TRANSACTIONAL,
        Capability.DIAGNOSE,
        Capability.MIGRATE,
        Capability.BROADCAST,
        Capability.REVOKE_ALL,
    }
)
"""Beyond the contract: protocols of optional.py and tidy.py."""

WHOLE_CONTRACT = frozenset(Capability) - EXTRAS
"""What a broker declares that keeps every clause."""


class _Declares(Protocol):
    @property
    def capabilities(self) -> frozenset[Capability]: ...


def lacking(broker: _Declares) -> list[Capability]:
    """What a broker lacks of the whole contract, in the order above."""
    return [each for each in Capability if each in WHOLE_CONTRACT - broker.capabilities]


_WHOLE = ("SQLite", "Redis", "PostgreSQL", "manager")
_KEPT_BY: Mapping[Capability, Iterable[str]] = {
    Capability.TRANSACTIONAL: ["SQLite", "PostgreSQL"],
    Capability.DIAGNOSE: ["Redis", "PostgreSQL", "RabbitMQ"],
    Capability.MIGRATE: ["PostgreSQL"],
    Capability.BROADCAST: ["RabbitMQ"],
    Capability.REVOKE_ALL: ["RabbitMQ"],
}


def keepers(capability: Capability) -> str:
    """Brokers that can do it, for a message: of those that keep the whole contract and outlive a process."""
    return ", ".join(_KEPT_BY.get(capability, _WHOLE))


def unsupported(capability: Capability, broker: str, *, what: str = "", instead: str = "") -> Unsupported:
    """The error for a call that needs what a broker, named as people know it, cannot do.

    `what`: the call, where the capability's own sentence says too little. `instead`: what to add to have it here.
    """
    cannot = f"{broker} cannot {what or capability.sentence}"
    return Unsupported(". ".join(filter(None, [cannot, instead, f"Brokers that can: {keepers(capability)}"])))


def absent(error: Unsupported) -> Any:
    """Stands for a part of the contract that a broker lacks: `kv: KV = absent(unsupported(Capability.KV, "RabbitMQ"))`.

    Every call of it raises such an error.
    """
    return _Absent(error)


class _Absent:
    def __init__(self, error: Unsupported) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> NoReturn:
            raise Unsupported(*self._error.args)

        return refuse
