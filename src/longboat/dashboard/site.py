"""Site: one broker as the screens see it, with what is looked up often kept for a moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import ConsumerView
from longboat.dashboard.plain import masked_text
from longboat.errors import BrokerError, Unsupported
from longboat.observe import history
from longboat.observe.history import GRAINS, FailureGroup, Tally, WorkerRecord
from longboat.operate import pauses
from longboat.operate.pauses import Kind
from longboat.tasks.task import Registry

R = TypeVar("R")

KEPT = 0.5
"""Seconds that an answer serves everybody who looks."""
RECENT = 900.0
"""Seconds that "lately" means."""


class Site:
    """Any thread may use it."""

    def __init__(
        self, broker: Callable[[], Broker], url: str, registry: Registry | None, name: str = "", no_code: str = ""
    ) -> None:
        self._broker = broker
        self.url = url
        """Without its password."""
        self.name = name or "Longboat"
        self.registry = registry or Registry()
        self.no_code = masked_text(no_code)
        """Why the app's code is not here; empty: it is, or nobody named it."""
        self._known: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    @property
    def broker(self) -> Broker:
        return self._broker()

    def kept(self, name: str, look: Callable[[], R], keep: float = KEPT) -> R:
        """What `look` found at most `keep` seconds ago."""
        now = SYSTEM.monotonic()
        with self._lock:
            known = self._known.get(name)
        if known is not None and now - known[0] < keep:
            found: R = known[1]
            return found
        found = look()
        with self._lock:
            if len(self._known) > 200:
                self._known.clear()
            self._known[name] = now, found
        return found

    def forget(self) -> None:
        """Something was changed here: look anew."""
        with self._lock:
            self._known.clear()

    # --- what several screens look at

    def counts(self) -> dict[tuple[str, State], int]:
        return self.kept("counts", lambda: dict(self.broker.inspector.counts()))

    def shown_counts(self) -> dict[tuple[str, State], int]:
        """For screens, which say themselves that they are not known: nothing where the broker cannot count."""
        nothing: dict[tuple[str, State], int] = {}
        return self.if_there(self.counts, nothing)

    def by_state(self, queue: str = "") -> Counter[State]:
        found: Counter[State] = Counter()
        for (name, state), count in self.shown_counts().items():
            if not queue or queue == name:
                found[state] += count
        return found

    def consumers(self) -> list[ConsumerView]:
        return self.kept("consumers", lambda: self.listed(lambda: list(self.broker.inspector.consumers())))

    @property
    def noted(self) -> bool:
        """Whether the broker keeps entries: without them no workers, failures, flows, schedules and pauses can be shown."""
        return self._can(Capability.KV)

    @property
    def counted(self) -> bool:
        """Whether the broker can tell how many jobs it has."""
        return self._can(Capability.COUNTS) or self._can(Capability.QUEUE_LENGTHS)

    def _can(self, capability: Capability) -> bool:
        try:
            return capability in self.broker.capabilities
        except BrokerError:  # a manager is down, which says nothing of what its store can
            return True

    def workers(self) -> list[WorkerRecord]:
        return self.kept("workers", lambda: self.listed(lambda: history.workers(self.broker.kv)))

    def paused(self) -> dict[Kind, set[str]]:
        nothing: dict[Kind, set[str]] = {"queue": set(), "task": set()}
        return self.kept("paused", lambda: self.if_there(lambda: pauses.paused(self.broker.kv), nothing))

    def failures(self) -> list[FailureGroup]:
        return self.kept("failures", lambda: self.listed(lambda: history.failure_groups(self.broker.kv)))

    def lately(self) -> dict[tuple[str, str], Tally]:
        """What became of attempts in the last RECENT seconds, by (queue, task)."""
        return self.kept("lately", lambda: self.if_there(self._lately, {}), 1.0)

    def _lately(self) -> dict[tuple[str, str], Tally]:
        now = SYSTEM.now()
        found: dict[tuple[str, str], Tally] = {}
        for _, slice_ in history.slices(self.broker.kv, GRAINS[0], now - RECENT, now + 1):
            for name, tally in slice_.items():
                found.setdefault(name, Tally()).add(tally)
        return found

    def tasks(self) -> list[str]:
        """The names of all tasks that are known: by the code, if it is here, by workers, by what ran lately."""
        names = set(self.registry.tasks) | {task for _, task in self.lately()}
        for record in self.workers():
            names.update(record.tasks)
        return sorted(names)

    def queues(self) -> list[str]:
        """The names of all queues that are known."""
        names = {queue for queue, _ in self.shown_counts()} | {queue for queue, _ in self.lately()} | self.paused()["queue"]
        for record in self.workers():
            names.update(record.queues)
        return sorted(names)

    @staticmethod
    def listed(look: Callable[[], list[R]]) -> list[R]:
        """What `look` finds; nothing where the broker has no board."""
        try:
            return look()
        except Unsupported:
            return []

    @staticmethod
    def if_there(look: Callable[[], R], otherwise: R) -> R:
        """What `look` finds; `otherwise` where the broker has no board."""
        try:
            return look()
        except Unsupported:
            return otherwise
