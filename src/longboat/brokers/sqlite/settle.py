"""Settling: the outcomes of leases, any mixture of them in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from longboat.brokers.sqlite.ending import appended, forget, take_numbers
from longboat.brokers.sqlite.following import any_dependencies, forget_inputs, succeeded
from longboat.brokers.sqlite.limits import leave
from longboat.brokers.sqlite.packing import PIECE, as_json, packed
from longboat.brokers.sqlite.rows import PAST
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.base_keep import kept_for
from longboat.contract.broker import Lease, Settlement
from longboat.core.codec import encode_failures
from longboat.core.job import Done, State
from longboat.core.transitions import after

_LEASED = "FROM json_each(:keys) AS j CROSS JOIN leased AS l ON l.token = CAST(j.key AS INTEGER)"
"""SQL: the leases whose tokens the keys begin with."""
_TIME = "CAST(substr(j.key, instr(j.key, ' ') + 1) AS REAL)"
"""SQL: the time that follows the token in a key."""
_PLACE = "l.queue, l.rank, l.seq, l.id"

_ENDED = "INSERT INTO ended SELECT :state, :queue, :base + l.token, l.seq, l.id, :now, l.since"
"""SQL: tokens tell the numbers apart, with gaps. Counting rows by a window function costs as much as writing them."""
_SUCCEED = f"{_ENDED}, l.attempts + 1, l.failures, {PIECE} {_LEASED}"
_SUCCEED_ALIKE = (
    f"{_ENDED}, l.attempts + 1, l.failures, :result FROM json_each(:tokens) AS j CROSS JOIN leased AS l ON l.token = j.value"
)
"""For functions that return nothing, as most do."""
_FAIL = f"{_ENDED}, l.attempts + :counts, {PIECE}, NULL {_LEASED}"
_AGAIN = (
    f"l.attempts + :counts, iif(:counts, 0, l.worker_deaths), iif(:counts, NULL, l.expires_at), "
    f"iif(:counts, {PIECE}, l.failures)"
)
"""SQL: PAST of a job that comes back: `worker_deaths` and the expiry end with an attempt that counts."""
_MOVES = {
    State.READY: f"INSERT OR IGNORE INTO ready SELECT {_PLACE}, {_AGAIN} {_LEASED}",
    State.SCHEDULED: f"INSERT INTO scheduled SELECT {_TIME}, l.seq, l.id, l.queue, l.rank, {_AGAIN} {_LEASED}",
    State.WAITING: f"INSERT INTO waiting SELECT :waits_for, {_PLACE}, {_TIME}, {PIECE}, {PAST} {_LEASED}",
}
_NAMED = "token IN (SELECT value FROM json_each(?))"

_numbers = msgspec.json.Decoder(list[int])


class Settled(msgspec.Struct):
    """What a settling did."""

    refused: list[Lease]
    ended: bool = False
    """Listeners may wait for one of them."""
    returned: bool = False
    """Consumers may want one of them."""


def settle(tx: Transaction, consumer: int, settlements: Sequence[Settlement], started: Sequence[Lease]) -> Settled:
    answer = Settled([])
    ours: dict[int, Settlement] = {}
    for settlement in settlements:
        if ours.setdefault(settlement.lease.token, settlement) is not settlement:
            answer.refused.append(settlement.lease)
    entries = {lease.token: lease for lease in started}
    asked = ours.keys() | entries.keys() if entries else ours.keys()
    held = _held(tx, consumer, asked)
    if len(held) != len(asked):
        answer.refused += [settlement.lease for token, settlement in ours.items() if token not in held]
        answer.refused += [lease for lease in started if lease.token not in held]
        ours = {token: settlement for token, settlement in ours.items() if token in held}
        entries = {token: lease for token, lease in entries.items() if token in held}
    if entries:
        tx.run(f"UPDATE leased SET started = 1 WHERE {_NAMED}", (as_json(list(entries)),))
    if ours:
        _SettleBatch(tx, answer).settle(consumer, ours)
    return answer


def _held(tx: Transaction, consumer: int, tokens: Collection[int]) -> Collection[int]:
    """Those of the tokens that are still the consumer's."""
    if not tokens:
        return tokens
    theirs = "FROM json_each(?) AS j CROSS JOIN leased AS l ON l.token = j.value AND l.consumer = ?"
    values = (as_json(list(tokens)), consumer)
    if tx.run(f"SELECT count(*) {theirs}", values).fetchone()[0] == len(tokens):
        return tokens
    return set(_numbers.decode(tx.run(f"SELECT json_group_array(l.token) {theirs}", values).fetchone()[0]))


class _Over(NamedTuple):
    """What jobs share that end together."""

    state: State
    queue: str
    keep: float
    counts: bool


class _Moved(NamedTuple):
    """What jobs share that one statement moves."""

    state: State
    queue: str
    counts: bool
    waits_for: str | None


class _SettleBatch:
    """Leases sorted by what becomes of them, so that each kind is one statement."""

    def __init__(self, tx: Transaction, answer: Settled) -> None:
        self._tx = tx
        self._answer = answer

    def settle(self, consumer: int, settlements: dict[int, Settlement]) -> None:
        done: defaultdict[tuple[str, float], dict[int, bytes]] = defaultdict(dict)
        failed: dict[int, Settlement] = {}
        constrained: list[Settlement] = []
        for token, settlement in settlements.items():
            outcome, job = settlement.outcome, settlement.lease.job
            if job.constraints is not None:
                constrained.append(settlement)
            if type(outcome) is Done:
                done[job.queue, job.keep][token] = outcome.result
            else:
                failed[token] = settlement
        for (queue, keep), results in done.items():
            if keep > 0:
                self._succeed(queue, keep, results)
        if failed:
            self._fail(consumer, failed)
        if done and any_dependencies(self._tx):
            results = {token: result for group in done.values() for token, result in group.items()}
            self._answer.returned |= succeeded(self._tx, results)
        forget_inputs(self._tx, [each.lease.token for each in constrained if type(each.outcome) is Done])
        for (queue, keep), results in done.items():
            if keep <= 0:
                self._forget(queue, results)
        self._tx.run(f"DELETE FROM leased WHERE {_NAMED}", (as_json(list(settlements)),))
        self._answer.returned |= leave(self._tx, [each.lease for each in constrained])

    def _succeed(self, queue: str, keep: float, results: dict[int, bytes]) -> None:
        self._tx.count(queue, State.RUNNING, -len(results))
        self._end(_SUCCEED, _Over(State.SUCCEEDED, queue, keep, counts=True), results)

    def _forget(self, queue: str, results: dict[int, bytes]) -> None:
        self._tx.count(queue, State.RUNNING, -len(results))
        chosen = "SELECT seq, id FROM leased WHERE token IN (SELECT value FROM json_each(:tokens))"
        forget(self._tx, chosen, {"tokens": as_json(list(results))})

    def _end(self, sql: str, over: _Over, pieces: dict[int, bytes]) -> None:
        least = min(pieces)
        first = take_numbers(self._tx, over.state, over.queue, len(pieces), over.keep, span=max(pieces) - least + 1)
        values: dict[str, object] = {"state": over.state.value, "queue": over.queue, "now": self._tx.now}
        values.update(base=first - least, counts=over.counts)
        if sql is _SUCCEED and len(alike := set(pieces.values())) == 1:
            self._tx.run(_SUCCEED_ALIKE, {**values, "tokens": as_json(list(pieces)), "result": alike.pop()})
        else:
            for keys, blob in packed(pieces.items()):
                self._tx.run(sql, {**values, "keys": keys, "blob": blob})
        self._answer.ended = True

    def _fail(self, consumer: int, settlements: dict[int, Settlement]) -> None:
        """Whatever is not Done."""
        cancelled = self._cancelled(consumer)
        old = self._failures([token for token, s in settlements.items() if s.lease.failures])
        over: defaultdict[_Over, dict[int, bytes]] = defaultdict(dict)
        moved: defaultdict[_Moved, dict[str | int, bytes]] = defaultdict(dict)
        now = self._tx.now
        for token, settlement in settlements.items():
            lease, job = settlement.lease, settlement.lease.job
            then = after(settlement.outcome, cancelled=token in cancelled, now=now, attempts=lease.attempt - 1)
            failures = appended(old.get(token), *then.failures) or b""
            if then.state.ended:
                over[_Over(then.state, job.queue, kept_for(then.state, job.keep), then.counts)][token] = failures
                continue
            parked = then.parked
            moves = _Moved(then.state, job.queue, then.counts, job.task if parked else None)
            moved[moves][f"{token} {now + then.delay}"] = encode_failures([parked]) if parked else failures
        for ending, reports in over.items():
            self._tx.count(ending.queue, State.RUNNING, -len(reports))
            self._end(_FAIL, ending, reports)
        gone = [token for ending, reports in over.items() if ending.state is State.CANCELLED for token in reports]
        forget_inputs(self._tx, [token for token in gone if settlements[token].lease.job.constraints is not None])
        for moves, pieces in moved.items():
            self._move(moves, pieces)

    def _move(self, to: _Moved, pieces: dict[str | int, bytes]) -> None:
        for keys, blob in packed(pieces.items()):
            self._tx.run(_MOVES[to.state], {"waits_for": to.waits_for, "counts": to.counts, "keys": keys, "blob": blob})
        self._tx.count(to.queue, State.RUNNING, -len(pieces))
        self._tx.count(to.queue, to.state, len(pieces))
        self._answer.returned = True

    def _cancelled(self, consumer: int) -> set[int]:
        return {token for (token,) in self._tx.run("SELECT token FROM leased WHERE consumer = ? AND cancelled", (consumer,))}

    def _failures(self, tokens: list[int]) -> dict[int, bytes]:
        if not tokens:
            return {}
        return dict(self._tx.run(f"SELECT token, failures FROM leased WHERE {_NAMED}", (as_json(tokens),)))
