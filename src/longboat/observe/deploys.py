"""Deploys: marks of when which version of an app went live, by a command or by the first worker that has it."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.codec import decoded
from longboat.errors import ConfigError
from longboat.observe.history import pages, workers

NAMESPACE = "deploys"
KEPT = 90 * 86400.0
"""As long as the longest history."""
MOST = 100
"""Marks that are kept: the newest."""
LONGEST = 100
"""Characters of a version."""


class Deploy(msgspec.Struct, frozen=True):
    """One mark."""

    version: str
    at: float
    """When, in seconds since the epoch."""
    by: str
    """Who marked it: a person at a machine, or a worker."""


def deploys(kv: KV) -> list[Deploy]:
    """Newest first."""
    found = (decoded(value, Deploy) for entries in pages(kv, NAMESPACE) for _, value in entries)
    return sorted((each for each in found if each is not None), key=lambda deploy: -deploy.at)[:MOST]


def mark(kv: KV, version: str, by: str) -> Deploy:
    """Note that this version goes live now. Raises ConfigError for a version that is empty or too long."""
    if not 0 < len(version) <= LONGEST or not version.isprintable():
        raise ConfigError(f"version: {version[:LONGEST]!r} must have 1 to {LONGEST} printable characters")
    known, made = deploys(kv), Deploy(version, SYSTEM.now(), by)
    before = f"{known[0].version}\0{known[0].at!r}" if known else ""
    key = sha256(f"{before}\0{version}".encode()).hexdigest()[:16]
    # Of workers that begin at the same moment one marks it: they all stand behind the same mark.
    if kv.put_if_absent(NAMESPACE, [Entry(key, msgspec.msgpack.encode(made), KEPT)])[0] and len(known) >= MOST:
        _forget(kv, known[MOST - 1 :])
    return made


def mark_worker(kv: KV, version: str, worker: str) -> None:
    """Mark the version of a worker that begins, unless it is the newest or other workers have it already.

    Call it before the worker's record is written: of workers with a record somebody has marked the version.
    """
    known = deploys(kv)
    if (not known or known[0].version != version) and all(record.app_version != version for record in workers(kv)):
        mark(kv, version, worker)


def _forget(kv: KV, gone: Collection[Deploy]) -> None:
    old = {msgspec.msgpack.encode(deploy) for deploy in gone}
    keys = [key for entries in pages(kv, NAMESPACE) for key, value in entries if value in old]
    kv.write(NAMESPACE, [Entry(key, None) for key in keys])
