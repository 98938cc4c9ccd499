"""Which queues there are, which the server tells nobody but its managers: those that workers serve are noted in the stream.

So are those of jobs put by processes that read the stream for another reason, such as commands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from longboat.contract.kv import Entry
from longboat.contract.revoked import ReplicatedKV
from longboat.errors import BrokerError

NAMESPACE = "queues"
KEPT = 90 * 86400.0
"""Seconds after which a queue that no process began to use is forgotten."""
MOST = 200
"""Queues that are learned: to look at one costs some calls of the server."""


class QueuesSeen:
    """`known`: the queues that this process looks at. Safe to use from several threads."""

    def __init__(self, kv: ReplicatedKV, known: set[str]) -> None:
        self._kv = kv
        self._known = known
        self._noted: set[str] = set()

    @property
    def any(self) -> bool:
        """Whether some are known from the stream. Costs next to nothing."""
        return self._kv.count(NAMESPACE) > 0

    def note(self, queues: Collection[str]) -> None:
        """Once for each queue. Where the stream cannot be written, jobs go on all the same."""
        if new := set(queues) - self._noted:
            with contextlib.suppress(BrokerError):
                self._kv.write(NAMESPACE, [Entry(queue, b"", KEPT) for queue in sorted(new)])
                self._noted |= new

    def learn(self) -> None:
        """Look at those that others have noted."""
        with contextlib.suppress(BrokerError):
            self._known.update(queue for queue, _ in self._kv.entries(NAMESPACE, limit=MOST))
