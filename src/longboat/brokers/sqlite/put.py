"""Putting jobs: one transaction for a batch, all or nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from longboat.brokers.sqlite.following import check_behind, follow, parents_behind, wait
from longboat.brokers.sqlite.packing import PIECE, as_json, packed
from longboat.brokers.sqlite.places import is_here, is_remembered, new_place
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.contract.broker import Token
from longboat.core import codec
from longboat.core.job import Job, State, order_of

_KEY = "CAST(j.key AS INTEGER), substr(j.key, instr(j.key, ' ') + 1)"
"""SQL: (seq, id) of a key made by `_key`. Only generated ids travel so: any other text may not survive JSON."""

_PACKED_JOBS = f"INSERT OR IGNORE INTO jobs SELECT {_KEY}, {PIECE} FROM json_each(:keys) AS j"
_PACKED_READY = f"INSERT OR IGNORE INTO ready SELECT :queue, :rank, {_KEY}, 0, 0, :expires, NULL FROM json_each(:keys) AS j"
_PACKED_DELAYED = (
    f"INSERT OR IGNORE INTO delayed SELECT :due, {_KEY}, :queue, :rank, 0, 0, :expires, NULL FROM json_each(:keys) AS j"
)
_ONE_JOB = "INSERT INTO jobs VALUES (?, ?, ?)"
_ONE_READY = "INSERT INTO ready VALUES (:queue, :rank, :seq, :id, 0, 0, :expires, NULL)"
_ONE_DELAYED = "INSERT INTO delayed VALUES (:due, :seq, :id, :queue, :rank, 0, 0, :expires, NULL)"

_Batch = dict[str, tuple[int, Job]]
"""By id: the place in time and the job."""


class _SomeKnown(Exception):
    """A generated id was put before: undo, look, and put the rest."""


class _Kind(NamedTuple):
    """What the jobs share that are put by one statement."""

    queue: str
    priority: int
    delay: float
    expires: float | None


class _Group(NamedTuple):
    kind: _Kind
    size: int
    packs: list[tuple[str, bytes]]


def put(store: Store, jobs: Sequence[Job], token: Token | None) -> list[str]:
    """Returns the ids that were new, in order; all of them for a token that is known."""
    generated: _Batch = {}
    chosen: dict[str, Job] = {}
    """And those with ties that matter here: they are put one by one, in their order."""
    behind = parents_behind(jobs) if [job for job in jobs if job.constraints is not None] else {}
    for job in jobs:
        seq = order_of(job.id)
        if seq is None or (job.constraints is not None and (job.constraints.after or job.constraints.fairness_key)):
            chosen.setdefault(job.id, job)
        elif job.id not in generated:
            generated[job.id] = seq, job
    try:
        known = _put(store, generated, chosen, behind, token, look=False)
    except _SomeKnown:
        known = _put(store, generated, chosen, behind, token, look=True)
    if len(generated) + len(chosen) == len(jobs) and not known:
        return [job.id for job in jobs]
    return [job_id for job_id in dict.fromkeys(job.id for job in jobs) if job_id not in known]


def _put(
    store: Store,
    generated: _Batch,
    chosen: dict[str, Job],
    behind: Mapping[str, Sequence[str]],
    token: Token | None,
    *,
    look: bool,
) -> Collection[str]:
    """Store those that are new; returns the ids that were known."""
    known: set[str] = set()
    groups = _grouped(generated)  # before the gate: others need not wait for it
    with store.write() as tx:
        if token is not None and not is_next(tx, token):
            return known
        check_behind(tx, behind)
        if look:
            known = _known(tx, generated)
            groups = _grouped({job_id: entry for job_id, entry in generated.items() if job_id not in known})
        for group in groups:
            _put_group(tx, group)
        if chosen:
            known |= _put_chosen(tx, chosen)
    return known


def is_next(tx: Transaction, token: Token) -> bool:
    written = tx.run(
        "INSERT INTO producers VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = excluded.number, at = excluded.at "
        "WHERE excluded.number > number",
        (*token, tx.now),
    )
    return written.rowcount == 1


def _known(tx: Transaction, generated: _Batch) -> set[str]:
    seqs = as_json([seq for seq, _ in generated.values()])
    rows = tx.run("SELECT jobs.id FROM json_each(?) AS j CROSS JOIN jobs ON jobs.seq = j.value", (seqs,))
    return {job_id for (job_id,) in rows if job_id in generated}


def _grouped(batch: _Batch) -> list[_Group]:
    messages: dict[_Kind, dict[str | int, bytes]] = {}
    kind: tuple[object, ...] = ()
    group: dict[str | int, bytes] = {}
    for job_id, (seq, job) in batch.items():
        if kind != (kind := (job.queue, job.priority, job.delay, job.expires)):
            group = messages.setdefault(_Kind(*kind), {})
        group[f"{seq} {job_id}"] = codec.encode_job(job)
    return [_Group(kind, len(group), list(packed(group.items()))) for kind, group in messages.items()]


def _put_group(tx: Transaction, group: _Group) -> None:
    stored = 0
    for keys, blob in group.packs:
        stored += tx.run(_PACKED_JOBS, {"keys": keys, "blob": blob}).rowcount
        values = {**_values(tx, group.kind), "keys": keys}
        tx.run(_PACKED_DELAYED if group.kind.delay > 0 else _PACKED_READY, values)
    if stored != group.size:
        raise _SomeKnown
    _count(tx, group.kind, group.size)


def _put_chosen(tx: Transaction, batch: dict[str, Job]) -> set[str]:
    """Ids that callers chose get their place in time here, and are remembered, as are those that take turns.

    Returns those known.
    """
    known = set()
    for job_id, job in batch.items():
        generated = order_of(job_id)
        if is_remembered(tx, job_id) or (generated is not None and is_here(tx, generated, job_id)):
            known.add(job_id)
            continue
        kind = _Kind(job.queue, job.priority, job.delay, job.expires)
        values = _values(tx, kind)
        seq = new_place(tx, job_id, job.queue, -job.priority, job.constraints.fairness_key if job.constraints else "")
        tx.run(_ONE_JOB, (seq, job_id, codec.encode_job(job)))
        if job.constraints is not None and job.constraints.after:
            waiting = follow(tx, job, seq)
            if waiting:
                wait(tx, job, seq, waiting, values["expires"])
                continue
        tx.run(_ONE_DELAYED if job.delay > 0 else _ONE_READY, {**values, "seq": seq, "id": job_id})
        _count(tx, kind, 1)
    return known


def _values(tx: Transaction, kind: _Kind) -> dict[str, Any]:
    expires = None if kind.expires is None else tx.now + kind.expires
    return {"queue": kind.queue, "rank": -kind.priority, "due": tx.now + kind.delay, "expires": expires}


def _count(tx: Transaction, kind: _Kind, n: int) -> None:
    tx.count(kind.queue, State.SCHEDULED if kind.delay > 0 else State.READY, n)
