"""The audit log: who changed what through the dashboard. Kept for 90 days, at most the newest MOST entries."""

from __future__ import annotations

import random

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.job import new_id
from longboat.observe import history

NAMESPACE = "audit"
KEPT = 90 * 86400.0
MOST = 50_000
TRIMMED = 500
"""About every how many changes the log is cut to MOST."""
LONGEST = 2000
"""Characters of one entry."""
BATCH = 1000
SPANS = (60.0, 1800.0, 54_000.0, 1_620_000.0, KEPT + 86400.0)
"""Seconds back from now. The log is read forwards, so its end is looked for in ever longer stretches."""


class AuditEntry(msgspec.Struct):
    """One change."""

    at: float
    who: str
    role: str
    verb: str
    what: str
    """What was changed, and the outcome."""


def record(kv: KV, who: str, role: str, verb: str, what: str) -> None:
    entry = AuditEntry(SYSTEM.now(), who, role, verb, what[:LONGEST])
    kv.write(NAMESPACE, [Entry(new_id(), msgspec.msgpack.encode(entry), KEPT)])
    if random.random() < 1 / TRIMMED:
        trim(kv)


def trim(kv: KV, most: int = MOST) -> None:
    """Delete the oldest, down to `most`."""
    keys = [key for entries in history.pages(kv, NAMESPACE) for key, _ in entries]
    for begin in range(0, len(keys) - most, BATCH):
        kv.write(NAMESPACE, [Entry(key, None) for key in keys[begin : min(begin + BATCH, len(keys) - most)]])


def newest(kv: KV, limit: int = 200) -> list[AuditEntry]:
    """Newest first."""
    found: list[AuditEntry] = []
    for span in SPANS:
        after = f"{max(0, int((SYSTEM.now() - span) * 1e6)) << 12:016x}"  # as new_id() begins
        found = history.newest(kv, NAMESPACE, AuditEntry, limit, after)
        if len(found) == limit:
            break
    return found
