"""What a broker may offer beyond the contract. Each is declared by its capability, and found here by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability, unsupported
from longboat.contract.carrier import Carrier, Ear
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.tidy import Tidy
from longboat.core.job import Job


class Transactional(Protocol):
    """Capability.TRANSACTIONAL: jobs are kept in a database that the caller's program uses as well."""

    def within(self, connection: object) -> Within:
        """The broker within the transaction that the caller's connection is in: what is done there is gone if that is
        rolled back. The connection must be to the database of this store. Its own time limits apply, not this broker's.
        """
        ...


class Within(Protocol):
    """What the calling side needs of a broker, within a transaction of the caller's."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def inspector(self) -> Inspector: ...

    @property
    def kv(self) -> KV: ...

    def put(self, jobs: Sequence[Job]) -> list[str]:
        """As the broker's."""
        ...


class Finding(NamedTuple):
    """Something to do something about; while a serious one lasts, jobs are not run or not kept."""

    what: str
    advice: str
    serious: bool = False


class Report:
    """What was found, in the order of looking."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.priorities: tuple[int, int] | None = None
        """The lowest and the highest priority that the broker tells from others; None: it tells all apart."""

    @property
    def serious(self) -> bool:
        return any(finding.serious for finding in self.findings)

    def warn(self, what: str, advice: str) -> None:
        self.findings.append(Finding(what, advice))

    def alarm(self, what: str, advice: str) -> None:
        self.findings.append(Finding(what, advice, serious=True))


class Diagnose(Protocol):
    """Capability.DIAGNOSE: the broker can examine its store, for `longboat doctor`."""

    def diagnose(self) -> Report:
        """Look, and change nothing. Never raises: a store that gives no answer is a finding as well."""
        ...


class Migrations(Protocol):
    """The versions of a store."""

    def plan(self) -> tuple[int, int, str]:
        """(version of the store, 0 if there is none; the newest; the SQL that leads there). Raises StoreTooNew."""
        ...

    def run(self) -> None:
        """Bring the store up to date, in one transaction."""
        ...


class Migrate(Protocol):
    """Capability.MIGRATE: the store is brought up to date by `longboat migrate`, and not only by who opens it."""

    @property
    def migrations(self) -> Migrations: ...


class Broadcasts(Protocol):
    """Capability.BROADCAST: events go past the KV, of which each process would have a copy."""

    def broadcast(self, body: bytes) -> None:
        """Tell all who listen just now. Returns at once and raises nothing; lost where nobody listens."""
        ...

    def overhear(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> Ear:
        """Hear what is broadcast from now on; both are called in a thread of the broker's. Raises BrokerError."""
        ...


class RevokesAll(Protocol):
    """Capability.REVOKE_ALL: jobs that cannot be found are cancelled all the same, by a rule that workers keep."""

    def revoke_all(self, queue: str, task: str) -> None:
        """Cancel all jobs of this queue, of this task (names or patterns; "": any) or of both that were enqueued before now.

        The first worker to come to each of them ends it, and who runs one is told. Raises BrokerFull for very many rules.
        """
        ...


def transactional(broker: Broker) -> Transactional:
    """Raises Unsupported for a broker that is not."""
    if Capability.TRANSACTIONAL not in broker.capabilities:
        instead = "Give the app an outbox=, or enqueue after the commit"
        raise unsupported(Capability.TRANSACTIONAL, type(broker).__name__, instead=instead)
    return cast(Transactional, broker)


def tidy_of(broker: Broker) -> Tidy | None:
    """None: the broker needs no housekeeping, or does it by itself."""
    return cast(Tidy, broker) if Capability.TIDY in broker.capabilities else None


def diagnosis(broker: Broker | Carrier) -> Report | None:
    """None: the broker cannot examine its store."""
    return cast(Diagnose, broker).diagnose() if Capability.DIAGNOSE in broker.capabilities else None


def migrations(broker: Broker) -> Migrations | None:
    """None: there is nothing to migrate."""
    return cast(Migrate, broker).migrations if Capability.MIGRATE in broker.capabilities else None


def revokes_all(broker: Broker) -> RevokesAll | None:
    """None: the broker finds the jobs, and they are cancelled one by one."""
    return cast(RevokesAll, broker) if Capability.REVOKE_ALL in broker.capabilities else None


def broadcasts(broker: Broker) -> Broadcasts | None:
    """None: what happens is told through the KV."""
    return cast(Broadcasts, broker) if Capability.BROADCAST in broker.capabilities else None
