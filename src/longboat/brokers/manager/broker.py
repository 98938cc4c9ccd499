"""ManagerBroker: a client of `longboat serve`."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Collection, Iterator, Sequence
from typing import cast

from msgspec import Raw

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import Calls
from longboat.brokers.manager.consumer import ManagerConsumer
from longboat.brokers.manager.forwarded import ForwardingBroker, ManagerInspector, ManagerKV, ManagerTransfer
from longboat.brokers.manager.results import ManagerResults
from longboat.contract.broker import Token
from longboat.contract.capabilities import WHOLE_CONTRACT, Capability
from longboat.core.codec import encode_job
from longboat.core.job import Job


class ManagerBroker(ForwardingBroker):
    """Keeps jobs in the store behind a server, reached over TCP.

    What it acknowledged is as durable as that store says. `timeout`: seconds that a call may take. The clock of the server's
    machine decides. Survives fork: the child opens its own connections.
    """

    def __init__(self, host: str, port: int, *, authkey: bytes, timeout: float = 2.0) -> None:
        where = f"manager://[{host}]:{port}" if ":" in host else f"manager://{host}:{port}"
        super().__init__(Calls((host, port), authkey, timeout, where))
        self._tokens = _tokens()
        self.results = ManagerResults(self.calls)
        self.inspector = ManagerInspector(self.calls)
        self.transfer = ManagerTransfer(self.calls)
        self.kv = ManagerKV(self.calls)

    @functools.cached_property
    def capabilities(self) -> frozenset[Capability]:
        """Those of the store behind the server. Raises BrokerUnavailable, the first time."""
        served = self.calls.call(wire.CAPABILITIES)
        return frozenset(each for each in (*WHOLE_CONTRACT, Capability.TIDY) if each in served)

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        if not jobs:
            return []
        if token is None:
            process, client, numbers = self._tokens
            if process != os.getpid():  # a child must not use its parent's numbers
                self._tokens = _, client, numbers = _tokens()
            token = client, next(numbers)
        # As bytes: so they are checked here, and encoded once.
        return self._put(cast(list[Job], [Raw(encode_job(job)) for job in jobs]), token=token)

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> ManagerConsumer:
        return ManagerConsumer(self.calls, self.calls.call(wire.REGISTER, list(queues), lease, list(tasks), name))

    def tidy(self, budget: float) -> float:
        return self.calls.call(wire.TIDY, budget)

    def close(self) -> None:
        self.calls.close()


def _tokens() -> tuple[int, str, Iterator[int]]:
    """This process, a name for it as a client, and its numbers."""
    return os.getpid(), os.urandom(12).hex(), itertools.count(1)
