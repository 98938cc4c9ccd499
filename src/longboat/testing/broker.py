"""TrialBroker: passes all on to a broker, notes what is put, and can be away."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, cast

from longboat.contract.broker import Broker, Consumer, Token
from longboat.contract.capabilities import Capability
from longboat.contract.optional import Within
from longboat.contract.tidy import Tidy
from longboat.core.job import Failure, Job
from longboat.errors import BrokerUnavailable


class Put(NamedTuple):
    """A job that was stored."""

    number: int
    """In the order of the puts, from 1."""
    job: Job


class TrialBroker:
    """A broker within a test. In an outage every call raises BrokerUnavailable, those of its parts and consumers too."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._consumers: set[_Consumer] = set()
        self.is_away = False
        self.puts: list[Put] = []
        self.results, self.inspector, self.kv, self.transfer = (
            cast(Any, _Part(self, part)) for part in (broker.results, broker.inspector, broker.kv, broker.transfer)
        )

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._broker.capabilities | {Capability.TRANSACTIONAL}

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        before, self.is_away = self.is_away, True
        try:
            yield
        finally:
            self.is_away = before

    def check(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("the broker is away: the test has it so, by outage()")

    def wake(self) -> None:
        """Time was moved: have what is due done, and those that wait look again."""
        cast(Tidy, self._broker).tidy(0.0)
        for consumer in list(self._consumers):
            consumer.wake()

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        self.check()
        new = self._broker.put(jobs, token=token)
        left = set(new)
        for job in jobs:
            if job.id in left:
                left.discard(job.id)
                self.puts.append(Put(len(self.puts) + 1, job))
        return new

    def within(self, connection: object) -> Within:  # noqa: ARG002  # a memory broker is in no database
        """Jobs of a transaction are there at once, and stay when it is rolled back."""
        return self

    def consumer(self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = "") -> Consumer:
        self.check()
        made = _Consumer(self, self._broker.consumer(queues, lease=lease, tasks=tasks, name=name), name)
        self._consumers.add(made)
        return cast(Consumer, made)

    def served_by_others(self, than: str) -> bool:
        """Whether a worker of another name takes jobs now."""
        return any(consumer.name != than for consumer in list(self._consumers))

    def left(self, consumer: _Consumer) -> None:
        self._consumers.discard(consumer)

    def evict(self, consumer: str, failure: Failure) -> int:
        self.check()
        return self._broker.evict(consumer, failure)

    def tidy(self, budget: float) -> float:
        self.check()
        return cast(Tidy, self._broker).tidy(budget)

    def close(self) -> None:
        """Its jobs stay, as those of a server: the app may be closed and used again within one test."""


class _Part:
    """A part of the broker, such as its KV, or a consumer."""

    def __init__(self, whole: TrialBroker, part: Any) -> None:
        self._whole = whole
        self._part = part

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not callable(found) or name in ("close", "wake"):  # these are answered in an outage, too
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._whole.check()
            answer = found(*args, **kwargs)
            return _Part(self._whole, answer) if name == "listen" else answer

        return call


class _Consumer(_Part):
    def __init__(self, whole: TrialBroker, part: Consumer, name: str) -> None:
        super().__init__(whole, part)
        self.name = name

    def close(self) -> None:
        self._whole.left(self)
        self._part.close()
