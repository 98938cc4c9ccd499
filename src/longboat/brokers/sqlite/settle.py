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
from longboat.core.codec import encode_failures, encode_job
from longboat.core.job import Done, Release, State, limited
from longboat.core.transitions import after

_LEASED = "FROM json_each(:keys) AS j CROSS JOIN longboat_leased AS l ON l.token = CAST(j.key AS INTEGER)"
"""SQL: the leases whose tokens the keys begin with."""
_TIME = "CAST(substr(j.key, instr(j.key, ' ') + 1) AS REAL)"
"""SQL: the time that follows the token in a key."""
_PLACE = "l.queue, l.rank, l.seq, l.id"

_ENDED = "INSERT INTO longboat_ended SELECT :state, :queue, :base + l.token, l.seq, l.id, :now, l.since"
"""SQL: tokens tell the numbers apart, with gaps. Counting rows by a window function costs as much as writing them."""
_SUCCEED = f"{_ENDED}, l.attempts + 1, l.failures, {PIECE} {_LEASED}"
_SUCCEED_ALIKE = (
    f"{_ENDED}, l.attempts + 1, l.failures, :result "
    "FROM json_each(:tokens) AS j CROSS JOIN longboat_leased AS l ON l.token = j.value"
)
"""For functions that return nothing, as most do."""
_FAIL = f"{_ENDED}, l.attempts + :counts, {PIECE}, NULL {_LEASED}"
_AGAIN = (
    f"l.attempts + :counts, iif(:counts, 0, l.worker_deaths), iif(:counts, NULL, l.expires_at), "
    f"iif(:counts, {PIECE}, l.failures)"
)
"""SQL: PAST of a job that comes back: `worker_deaths` and the expiry end with an attempt that counts."""
_MOVES = {
    State.READY: f"INSERT OR IGNORE INTO longboat_ready SELECT {_PLACE}, {_AGAIN} {_LEASED}",
    State.SCHEDULED: f"INSERT INTO longboat_scheduled SELECT {_TIME}, l.seq, l.id, l.queue, l.rank, {_AGAIN} {_LEASED}",
    State.WAITING: f"INSERT INTO longboat_waiting SELECT :waits_for, {_PLACE}, {_TIME}, {PIECE}, {PAST} {_LEASED}",
}
_LIMITED = "UPDATE longboat_jobs SET message = ? WHERE (seq, id) = (SELECT seq, id FROM longboat_leased WHERE token = ?)"
_NAMED = "token IN (SELECT value FROM json_each(?))"

_numbers = msgspec.json.Decoder(list[int])


class Settled(msgspec.Struct):
    """What a settling did."""

    refused: list[Lease]
    ended: bool = False
    """Listeners may wait for one of them."""
    returned: bool = False
    """Consumers may want one of them."""


class _Kind(NamedTuple):
    """What the leases share that one statement settles."""

    state: State
    queue: str
    counts: bool
    keep: float = 0.0
    """Seconds that they are kept, if they end."""
    waits_for: str | None = None


def settle(tx: Transaction, consumer: int, settlements: Sequence[Settlement], started: Sequence[Lease]) -> Settled:
    answer = Settled([])
    ours: dict[int, Settlement] = {}
    for settlement in settlements:
        if ours.setdefault(settlement.lease.token, settlement) is not settlement:
            answer.refused.append(settlement.lease)
    begun = {lease.token: lease for lease in started}
    asked = ours.keys() | begun.keys() if begun else ours.keys()
    held = _held(tx, consumer, asked)
    if len(held) != len(asked):
        answer.refused += [settlement.lease for token, settlement in ours.items() if token not in held]
        answer.refused += [lease for lease in started if lease.token not in held]
        ours = {token: settlement for token, settlement in ours.items() if token in held}
        begun = {token: lease for token, lease in begun.items() if token in held}
    if begun:
        tx.run(f"UPDATE longboat_leased SET started = 1 WHERE {_NAMED}", (as_json(list(begun)),))
    if ours:
        _settle(tx, answer, consumer, ours)
    return answer


def _held(tx: Transaction, consumer: int, tokens: Collection[int]) -> Collection[int]:
    """Those of the tokens that are still the consumer's."""
    if not tokens:
        return tokens
    theirs = "FROM json_each(?) AS j CROSS JOIN longboat_leased AS l ON l.token = j.value AND l.consumer = ?"
    values = (as_json(list(tokens)), consumer)
    if tx.run(f"SELECT count(*) {theirs}", values).fetchone()[0] == len(tokens):
        return tokens
    return set(_numbers.decode(tx.run(f"SELECT json_group_array(l.token) {theirs}", values).fetchone()[0]))


def _settle(tx: Transaction, answer: Settled, consumer: int, settlements: dict[int, Settlement]) -> None:
    """Sorted by what becomes of them, so that each kind is one statement."""
    done: defaultdict[tuple[str, float], dict[int, bytes]] = defaultdict(dict)
    others: list[Settlement] = []
    constrained: list[Settlement] = []
    for token, settlement in settlements.items():
        outcome, job = settlement.outcome, settlement.lease.job
        if job.constraints is not None:
            constrained.append(settlement)
        if type(outcome) is Done:
            done[job.queue, job.keep][token] = outcome.result
        else:
            others.append(settlement)
    for (queue, keep), results in done.items():
        tx.count(queue, State.RUNNING, -len(results))
        if keep > 0:
            _end(tx, _SUCCEED, _Kind(State.SUCCEEDED, queue, counts=True, keep=keep), results)
            answer.ended = True
    if others:
        _settle_others(tx, answer, consumer, others)
    if done and any_dependencies(tx):
        answer.returned |= succeeded(tx, {token: result for group in done.values() for token, result in group.items()})
    forget_inputs(tx, [each.lease.token for each in constrained if type(each.outcome) is Done])
    for (_, keep), results in done.items():
        if keep <= 0:
            chosen = "SELECT seq, id FROM longboat_leased WHERE token IN (SELECT value FROM json_each(:tokens))"
            forget(tx, chosen, {"tokens": as_json(list(results))})
    tx.run(f"DELETE FROM longboat_leased WHERE {_NAMED}", (as_json(list(settlements)),))
    answer.returned |= leave(tx, [each.lease for each in constrained])


def _settle_others(tx: Transaction, answer: Settled, consumer: int, settlements: Sequence[Settlement]) -> None:
    """Whatever is not Done."""
    cancelled = {
        token for (token,) in tx.run("SELECT token FROM longboat_leased WHERE consumer = ? AND cancelled", (consumer,))
    }
    failed = as_json([each.lease.token for each in settlements if each.lease.failures])
    before: dict[int, bytes] = dict(tx.run(f"SELECT token, failures FROM longboat_leased WHERE {_NAMED}", (failed,)))
    ended: defaultdict[_Kind, dict[int, bytes]] = defaultdict(dict)
    moved: defaultdict[_Kind, dict[str | int, bytes]] = defaultdict(dict)
    forgotten = []
    for lease, job, outcome in ((each.lease, each.lease.job, each.outcome) for each in settlements):
        then = after(outcome, cancelled=lease.token in cancelled, now=tx.now, attempts=lease.attempt - 1)
        failures = appended(before.get(lease.token), *then.failures) or b""
        if then.state.ended:
            kind = _Kind(then.state, job.queue, then.counts, keep=kept_for(then.state, job.keep))
            ended[kind][lease.token] = failures
            if then.state is State.CANCELLED and job.constraints is not None:
                forgotten.append(lease.token)
        else:
            if isinstance(outcome, Release) and outcome.limits is not None:
                tx.run(_LIMITED, (encode_job(limited(job, outcome.limits)), lease.token))
            kind = _Kind(then.state, job.queue, then.counts, waits_for=job.task if then.parked else None)
            piece = encode_failures([then.parked]) if then.parked else failures
            moved[kind][f"{lease.token} {tx.now + then.delay}"] = piece
    for kind, reports in ended.items():
        tx.count(kind.queue, State.RUNNING, -len(reports))
        _end(tx, _FAIL, kind, reports)
    forget_inputs(tx, forgotten)
    for kind, pieces in moved.items():
        for keys, blob in packed(pieces.items()):
            tx.run(_MOVES[kind.state], {**kind._asdict(), "keys": keys, "blob": blob})
        tx.count(kind.queue, State.RUNNING, -len(pieces))
        tx.count(kind.queue, kind.state, len(pieces))
    answer.ended |= bool(ended)
    answer.returned |= bool(moved)


def _end(tx: Transaction, sql: str, kind: _Kind, pieces: dict[int, bytes]) -> None:
    """`pieces`: by token the result, or the failures."""
    least = min(pieces)
    first = take_numbers(tx, kind.state, kind.queue, len(pieces), kind.keep, span=max(pieces) - least + 1)
    values = {**kind._asdict(), "state": kind.state.value, "now": tx.now, "base": first - least}
    if sql is _SUCCEED and len(alike := set(pieces.values())) == 1:
        tx.run(_SUCCEED_ALIKE, {**values, "tokens": as_json(list(pieces)), "result": alike.pop()})
        return
    for keys, blob in packed(pieces.items()):
        tx.run(sql, {**values, "keys": keys, "blob": blob})
