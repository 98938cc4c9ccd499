"""Settlements as the values of one call."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.redis.claimed import INDEX_BITS
from longboat.brokers.redis.constrained import constraint_values
from longboat.brokers.redis.server import Value
from longboat.contract.broker import Lease, Settlement
from longboat.core.codec import encode_failures, encode_job
from longboat.core.constraints import Constraints
from longboat.core.job import Cancelled, Dead, Done, Failure, Outcome, Park, Release, Retry, limited

Held = dict[int, bytes]
"""Keys of the jobs that a consumer leases, by the leases' tokens."""


class _Successes:
    """Successes of one queue that are kept equally long."""

    __slots__ = ("alike", "claims", "keys", "leases", "results")

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.keys: list[Value] = []
        self.claims: list[bytes] = []
        self.results: list[Value] = []
        self.alike = True


class SettleBatch:
    """One call's settlements. Those of leases that are not held are refused at once."""

    def __init__(self, held: Held) -> None:
        self.refused: list[Lease] = []
        self.size = 0
        self._held = held
        self._seen: set[int] = set()
        self._successes: dict[tuple[str, float], _Successes] = {}
        self._groups: list[Value] = []
        self._count = 0
        self._order: list[Lease] = []
        """Leases in the order in which the server counts them."""
        self._claim = -1
        self._claim_bytes = b""

    def start(self, started: Sequence[Lease]) -> None:
        keys: list[Value] = []
        claims = []
        for lease in started:
            key = self._held.get(lease.token)
            if key is None:
                self.refused.append(lease)
                continue
            keys.append(key)
            claims.append(self._claim_of(lease.token))
            self._order.append(lease)
        if keys:
            self._groups += ("N", len(keys), _in_a_row(claims), *keys)
            self._count += 1
            self.size += len(keys)

    def add(self, settlement: Settlement) -> None:
        lease, outcome = settlement.lease, settlement.outcome
        token = lease.token
        key = self._held.get(token)
        if key is None or token in self._seen:
            self.refused.append(lease)
            return
        self._seen.add(token)
        self.size += 1
        if type(outcome) is Done:
            job = lease.job
            group = self._successes.get((job.queue, job.keep))
            if group is None:
                group = self._successes[job.queue, job.keep] = _Successes()
            group.leases.append(lease)
            group.keys.append(key)
            group.claims.append(self._claim_of(token))
            group.alike = group.alike and (not group.results or outcome.result == group.results[-1])
            group.results.append(outcome.result)
        else:
            self._order.append(lease)
            if isinstance(outcome, Release) and outcome.limits is not None:
                job = limited(lease.job, outcome.limits)
                message, told = encode_job(job), constraint_values(job.constraints or Constraints())[2]
                self._say(key, token, "G", outcome.delay, len(message).to_bytes(4, "big") + message + told)
            else:
                self._one(key, token, outcome)

    def bury(self, key: bytes, token: int, outcome: Outcome) -> None:
        """As `add`, for a lease that was given to nobody."""
        self._one(key, token, outcome)

    def values(self) -> list[Value]:
        """Arguments of the settle script, after the consumer's id."""
        groups = self._groups
        for (queue, keep), group in self._successes.items():
            n = len(group.keys)
            results = group.results[:1] if group.alike else group.results
            groups += ("S", queue, repr(keep), n, _in_a_row(group.claims), *group.keys, len(results), *results)
            self._count += 1
            self._order += group.leases
        self._successes = {}
        return [self._count, *groups]

    def settled(self, refused: Sequence[int]) -> None:
        """The server has settled all but these."""
        self.refused += [self._order[ordinal] for ordinal in refused]
        for token in self._seen:
            self._held.pop(token, None)
        for ordinal in refused:
            self._held.pop(self._order[ordinal].token, None)

    def _one(self, key: bytes, token: int, outcome: Outcome) -> None:
        letter, number, failure = _said(outcome)
        self._say(key, token, letter, number, encode_failures([failure])[1:] if failure else b"")

    def _say(self, key: bytes, token: int, letter: str, number: float, why: bytes) -> None:
        self._groups += ("O", letter, key, self._claim_of(token), repr(number), why)
        self._count += 1

    def _claim_of(self, token: int) -> bytes:
        claim = token >> INDEX_BITS
        if claim != self._claim:
            self._claim, self._claim_bytes = claim, claim.to_bytes(6, "big")
        return self._claim_bytes


def _in_a_row(claims: list[bytes]) -> bytes:
    return claims[0] if claims.count(claims[0]) == len(claims) else b"".join(claims)


def _said(outcome: Outcome) -> tuple[str, float, Failure | None]:
    match outcome:
        case Retry(delay, failure):
            return "R", delay, failure
        case Dead(failure, counted):
            return "D" if counted else "U", 0.0, failure
        case Cancelled(failure):
            return "C", 0.0, failure
        case Release(delay):
            return "L", delay, None
        case Park(patience, failure):
            return "P", patience, failure
        case Done():
            raise AssertionError("successes go in groups")
