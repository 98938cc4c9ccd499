"""The audit log: who changed what by the dashboard. Notes on the board, kept for 90 days, at most the newest MOST."""

from __future__ import annotations

import random

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.job import new_id
from longboat.observe.history import decoded

NAMESPACE = "audit"
KEPT = 90 * 86400.0
MOST = 50_000
TRIMMED = 500
"""About every so many changes the log is cut to MOST."""
LONGEST = 2000
"""Characters of one entry."""
BATCH = 1000
SPANS = (60.0, 1800.0, 54_000.0, 1_620_000.0, KEPT + 86400.0)
"""Seconds back from now: the log's end is looked for in ever longer stretches, since it is read from its beginning."""


class AuditEntry(msgspec.Struct):
    """One change."""

    at: float
    who: str
    role: str
    verb: str
    what: str
    """What it was done to, and what came of it."""


def record(kv: KV, who: str, role: str, verb: str, what: str) -> None:
    audit_entry = AuditEntry(SYSTEM.now(), who, role, verb, what[:LONGEST])
    kv.write(NAMESPACE, [Entry(new_id(), msgspec.msgpack.encode(audit_entry), KEPT)])
    if random.random() < 1 / TRIMMED:
        trim(kv)


def trim(kv: KV, most: int = MOST) -> None:
    """Delete the oldest, down to `most`."""
    keys: list[str] = []
    while entries := kv.entries(NAMESPACE, after=keys[-1] if keys else "", limit=BATCH):
        keys += [key for key, _ in entries]
    for begin in range(0, len(keys) - most, BATCH):
        kv.write(NAMESPACE, [Entry(key, None) for key in keys[begin : min(begin + BATCH, len(keys) - most)]])


def newest(kv: KV, limit: int = 200) -> list[AuditEntry]:
    """The newest first."""
    found: list[bytes] = []
    for span in SPANS:
        found = []
        after = f"{max(0, int((SYSTEM.now() - span) * 1e6)) << 12:016x}"  # as new_id() begins
        while entries := kv.entries(NAMESPACE, after=after, limit=BATCH):
            found = [*found, *(value for _, value in entries)][-limit:]
            after = entries[-1][0]
        if len(found) == limit:
            break
    audit_entries = (decoded(value, AuditEntry) for value in reversed(found))
    return [audit_entry for audit_entry in audit_entries if audit_entry is not None]
