"""Marks: the claims of jobs that are about to leave for another broker, or have left.

An export batch is open at first: it marks the claims that it takes, and what a mark means is what the batch says. It is
sealed by one compare-and-set of its entry, which then holds the jobs: from that moment on all of them are taken, before it
none. A batch that is not to be sealed is given up in the same way; then its claims are put back as they were, by whoever
comes upon them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from longboat.brokers.companion.entries import OVER, Claim, hashed, key
from longboat.brokers.companion.ledger import Ledger, Seen, encode
from longboat.contract.broker import DEAD_KEPT
from longboat.contract.kv import Entry
from longboat.core.codec import decoded

PACKED, AWAY = "packed", "away"
"""What a claim says in place of its worker: marked by the batch that it names, or gone for good (the job may come back)."""

PATIENCE = 1.0
"""Seconds that an open batch may hold up whoever receives a job of it; then it is given up."""

PAUSE = 0.005

OPEN, SEALED, GIVEN_UP = range(3)


class ExportBatch(msgspec.Struct, array_like=True):
    name: str
    mark: str
    ids: list[str]
    """Those that may bear its mark."""
    stage: int = OPEN
    taken: list[str] = []
    """Once it is sealed, those that leave."""
    exported_jobs: bytes = b""
    pieces: int = 0


def batch_key(name: str) -> str:
    return f"b/{hashed(name)}"


def marked(claim: Claim | None) -> bool:
    return claim is not None and claim.worker == PACKED and claim.kind == OVER


def away(claim: Claim | None) -> bool:
    return claim is not None and claim.worker == AWAY and claim.kind == OVER


def left_alone(ledger: Ledger, name: str) -> Seen:
    """This job once no batch is about to take it: its claim is as it was, or it is taken for good."""
    deadline = time.monotonic() + PATIENCE
    while True:
        (seen,) = ledger.look([name])
        claim = seen.claim
        if claim is None or not marked(claim):
            return seen
        (raw,) = ledger.read([batch_key(claim.holder)])
        batch = decoded(raw, ExportBatch)
        if batch is not None and batch.mark in claim.copies and name in batch.taken:
            return seen
        if batch is None or batch.mark not in claim.copies or batch.stage != OPEN:
            _put_back(ledger, seen)
        elif time.monotonic() < deadline:
            time.sleep(PAUSE)
        else:
            give_up(ledger, batch, raw)


def give_up(ledger: Ledger, batch: ExportBatch, raw: bytes | None) -> None:
    """A batch that is not sealed, and whose entry is `raw`: its jobs are as before. Harmless for one sealed meanwhile."""
    if batch.stage == OPEN:
        over = encode(msgspec.structs.replace(batch, stage=GIVEN_UP))
        if not ledger.compare_and_set(Entry(batch_key(batch.name), over), raw):
            return
        raw = over
    put_back(ledger, batch.mark, batch.ids)
    ledger.compare_and_set(Entry(batch_key(batch.name), None), raw)


def put_back(ledger: Ledger, mark: str, ids: Iterable[str]) -> None:
    """The claims of these jobs, where they bear this mark."""
    for seen in ledger.look(list(ids)):
        if seen.claim is not None and marked(seen.claim) and mark in seen.claim.copies:
            _put_back(ledger, seen)


def _put_back(ledger: Ledger, seen: Seen) -> None:
    if seen.claim is not None:
        before = seen.claim.why or None
        keep = DEAD_KEPT if seen.end is not None else None
        ledger.compare_and_set(Entry(key("c", seen.id), before, keep), seen.claim_raw)
