"""Putting jobs: one transaction for a batch, all or nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from longboat.brokers.sqlite import rows
from longboat.brokers.sqlite.following import check_order, follow, wait
from longboat.brokers.sqlite.packing import PIECE, as_json, packed
from longboat.brokers.sqlite.places import is_known, new_place
from longboat.brokers.sqlite.rows import Row
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.contract.broker import Token
from longboat.core import codec
from longboat.core.job import Job, State, order_of

_KEY = "CAST(j.key AS INTEGER), substr(j.key, instr(j.key, ' ') + 1)"
"""SQL: (seq, id) of a key of `_grouped`. Only generated ids travel so: other text may not survive JSON."""

_PACKED_JOBS = f"INSERT OR IGNORE INTO longboat_jobs SELECT {_KEY}, {PIECE} FROM json_each(:keys) AS j"
_PACKED_READY = (
    f"INSERT OR IGNORE INTO longboat_ready SELECT :queue, :rank, {_KEY}, 0, 0, :expires, NULL FROM json_each(:keys) AS j"
)
_PACKED_SCHEDULED = (
    f"INSERT OR IGNORE INTO longboat_scheduled SELECT :due, {_KEY}, :queue, :rank, 0, 0, :expires, NULL "
    "FROM json_each(:keys) AS j"
)

_Batch = dict[str, tuple[int, Job]]
"""By id: the place in time and the job."""


class _SomeKnown(Exception):
    """A generated id is known already: undo, look, and put the rest."""


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
    """By id; also jobs that come after others or have a fairness key: they are put one by one, in their order."""
    for job in jobs:
        seq = order_of(job.id)
        if seq is None or (job.constraints is not None and (job.constraints.after or job.constraints.fairness_key)):
            chosen.setdefault(job.id, job)
        elif job.id not in generated:
            generated[job.id] = seq, job
    try:
        known = _put(store, jobs, generated, chosen, token, look=False)
    except _SomeKnown:
        known = _put(store, jobs, generated, chosen, token, look=True)
    if len(generated) + len(chosen) == len(jobs) and not known:
        return [job.id for job in jobs]
    return [job_id for job_id in dict.fromkeys(job.id for job in jobs) if job_id not in known]


def _put(
    store: Store, jobs: Sequence[Job], generated: _Batch, chosen: dict[str, Job], token: Token | None, *, look: bool
) -> Collection[str]:
    """Store those that are new; returns the ids that were known."""
    known: set[str] = set()
    groups = _grouped(generated)  # before the lock: other writers need not wait for it
    with store.write() as tx:
        if token is not None and not is_next(tx, token):
            return known
        if chosen:
            check_order(tx, jobs)
        if look:
            known = _known(tx, generated)
            groups = _grouped({job_id: entry for job_id, entry in generated.items() if job_id not in known})
        for group in groups:
            _put_group(tx, group)
        if chosen:
            known |= _put_chosen(tx, chosen)
    return known


def is_next(tx: Transaction, token: Token) -> bool:
    """Whether this put was not stored before. Remembers it."""
    written = tx.run(
        "INSERT INTO longboat_puts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = excluded.number, at = excluded.at "
        "WHERE excluded.number > number",
        (*token, tx.now),
    )
    return written.rowcount == 1


def _known(tx: Transaction, generated: _Batch) -> set[str]:
    seqs = as_json([seq for seq, _ in generated.values()])
    rows = tx.run(
        "SELECT longboat_jobs.id FROM json_each(?) AS j CROSS JOIN longboat_jobs ON longboat_jobs.seq = j.value", (seqs,)
    )
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
    stored, kind = 0, group.kind
    expires = None if kind.expires is None else tx.now + kind.expires
    values = {"queue": kind.queue, "rank": -kind.priority, "due": tx.now + kind.delay, "expires": expires}
    for keys, blob in group.packs:
        stored += tx.run(_PACKED_JOBS, {"keys": keys, "blob": blob}).rowcount
        tx.run(_PACKED_SCHEDULED if kind.delay > 0 else _PACKED_READY, {**values, "keys": keys})
    if stored != group.size:
        raise _SomeKnown
    tx.count(kind.queue, State.SCHEDULED if kind.delay > 0 else State.READY, group.size)


def _put_chosen(tx: Transaction, batch: dict[str, Job]) -> set[str]:
    """Jobs whose ids do not tell their place. Returns the ids that were known."""
    known = set()
    for job_id, job in batch.items():
        if is_known(tx, job_id):
            known.add(job_id)
            continue
        expires = None if job.expires is None else tx.now + job.expires
        row = add(tx, Row(job.queue, -job.priority, 0, job_id, expires_at=expires), job, codec.encode_job(job))
        waiting = follow(tx, job, row.seq) if job.constraints is not None and job.constraints.after else 0
        if waiting:
            wait(tx, row, waiting, job.delay)
        else:
            rows.insert(tx, row, job.delay)
    return known


def add(tx: Transaction, row: Row, job: Job | None, message: bytes) -> Row:
    """Store a message; returns the row, at the place that it gets."""
    fairness_key = job.constraints.fairness_key if job and job.constraints else ""
    row = row._replace(seq=new_place(tx, row.id, row.queue, row.rank, fairness_key))
    tx.run("INSERT INTO longboat_jobs VALUES (?, ?, ?)", (row.seq, row.id, message))
    return row
