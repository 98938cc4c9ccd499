"""The audit: who changed what, by a page, the API, the command line or a call in Python, and why.

An entry for each act, kept for 90 days, at most the newest MOST; and for each job that an act changed a mark that names the
act, kept as long as dead jobs are.
"""

from __future__ import annotations

import getpass
import logging
import os
import random
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.codec import decoded
from longboat.core.job import new_id, order_of
from longboat.core.text import counted
from longboat.errors import BrokerError
from longboat.observe import history

NAMESPACE = "audit"
JOBS = "audit.jobs"
"""Marks: their keys are a job's id, a colon and the id of the act."""
KEPT = 90 * 86400.0
MARKED = 30 * 86400.0
MOST = 50_000
TRIMMED = 500
"""About every how many acts the audit is cut to MOST."""
LONGEST = 2000
"""Characters of one entry."""
LONGEST_REASON = 500
BATCH = 1000
NAMED = 20
"""Ids that an entry names, at most."""
SPANS = (60.0, 1800.0, 54_000.0, 1_620_000.0, KEPT + 86400.0)
"""Seconds back from now. The audit is read forwards, so its end is looked for in ever longer stretches."""

How = Literal["page", "API", "admin", "command line", "Python", ""]
_WORDS = {
    "page": "on the page",
    "API": "through the API",
    "admin": "in the admin",
    "command line": "from the command line",
    "Python": "from Python",
}
BECAME = {
    "retry": "retried",
    "cancel": "cancelled",
    "discard": "deleted",
    "delete": "deleted",
    "move": "moved",
    "edit": "enqueued again",
    "enqueue": "enqueued",
    "flow-cancel": "cancelled",
    "flow-retry": "retried",
    "schedule-run": "enqueued",
}
"""What a job became by a verb."""


class By(msgspec.Struct, frozen=True):
    """Who does something, how, and why."""

    who: str
    how: How
    host: str = ""
    role: str = ""
    reason: str = ""


class AuditEntry(msgspec.Struct):
    """One act."""

    at: float
    who: str
    """On a page the person, elsewhere the user of the operating system."""
    role: str
    verb: str
    what: str
    """What was changed, and the outcome."""
    how: str = ""
    """page, API, admin, command line or Python; empty: an older version wrote it."""
    host: str = ""
    """Where the command or the program ran."""
    reason: str = ""
    id: str = ""

    @property
    def by(self) -> str:
        """Such as "ada on web-1 from the command line"."""
        return " ".join(filter(None, [self.who, f"on {self.host}" if self.host else "", _WORDS.get(self.how, self.how)]))

    @property
    def became(self) -> str:
        """What it made of a job: cancelled, retried."""
        return BECAME.get(self.verb, self.verb)


def here(how: How, reason: str = "") -> By:
    """This process's user and host."""
    return By(_user(), how, socket.gethostname(), reason=reason)


@lru_cache
def _user() -> str:
    """Not what variables say, where the system knows."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        pass
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"


def record(kv: KV, by: By, verb: str, what: str, ids: Sequence[str] = (), *, act: str = "") -> None:
    """Write down an act, and that it changed the jobs with these `ids`.

    `act`: the id of one that was written down before, and whose entry this is now.
    """
    key = act or new_id()
    at = _at(key) or SYSTEM.now()
    entry = AuditEntry(at, by.who, by.role, verb, what[:LONGEST], by.how, by.host, by.reason[:LONGEST_REASON])
    kv.write(NAMESPACE, [Entry(key, msgspec.msgpack.encode(entry), KEPT)])
    mark(kv, key, ids)
    if random.random() < 1 / TRIMMED:
        trim(kv)


def mark(kv: KV, act: str, ids: Sequence[str]) -> None:
    """Note that the act of this id changed these jobs."""
    for begin in range(0, len(ids), BATCH):
        kv.write(JOBS, [Entry(f"{job_id}:{act}", b"", MARKED) for job_id in ids[begin : begin + BATCH]])


def told(broker: Broker, by: By, verb: str, what: str, ids: Sequence[str] = ()) -> str:
    """As `record`, of what is done already. Returns what to add to its message: that it could not be written down, or ""."""
    act = Act(broker, by, verb)
    act.tell(what, ids)
    return act.wrong


def told_here(broker: Broker, verb: str, ids: Sequence[str], reason: str = "", of: str = "") -> int:
    """As `told`: this program changed these jobs, `of` a flow perhaps. Returns how many; nothing is written down of none."""
    what = named(f"{counted(len(ids), 'job')}{of} {BECAME[verb]}", ids)
    if ids and (wrong := told(broker, here("Python", reason), verb, what, ids)):
        logging.getLogger("longboat").warning("%s%s", what, wrong)
    return len(ids)


class Act:
    """One that may take a while: told when it begins, of each part that is done, and at its end. Raises nothing.

    A broker that keeps nothing but jobs keeps no audit.
    """

    def __init__(self, broker: Broker, by: By, verb: str, act: str = "") -> None:
        self.wrong = ""
        """What to add to its message: that it could not be written down."""
        self._broker = broker
        self._by = by
        self._verb = verb
        self._id = act or new_id()
        self._kept = Capability.KV in broker.capabilities

    def tell(self, what: str, ids: Sequence[str] = ()) -> None:
        """What it does or did, instead of what was told of it before; `ids`: jobs that it changed."""
        self._try(lambda: record(self._broker.kv, self._by, self._verb, what, ids, act=self._id))

    def mark(self, ids: Sequence[str]) -> None:
        """It changed these jobs."""
        self._try(lambda: mark(self._broker.kv, self._id, ids))

    def _try(self, write: Callable[[], object]) -> None:
        try:
            if self._kept:
                write()
        except BrokerError as error:
            self.wrong = f" (but the audit log could not be written: {error})"


def named(message: str, ids: Sequence[str]) -> str:
    """The message, and the first ids."""
    return (
        f"{message} ({', '.join(ids[:NAMED])}{f' and {len(ids) - NAMED:,} more' if ids[NAMED:] else ''})" if ids else message
    )


def trim(kv: KV, most: int = MOST) -> None:
    """Delete the oldest, down to `most`."""
    keys = [key for entries in history.pages(kv, NAMESPACE) for key, _ in entries]
    for begin in range(0, len(keys) - most, BATCH):
        kv.write(NAMESPACE, [Entry(key, None) for key in keys[begin : min(begin + BATCH, len(keys) - most)]])


def newest(kv: KV, limit: int = 200, *, before: str | None = None, text: str = "") -> list[AuditEntry]:
    """Newest first: those before the one of this id, in which this text occurs, in small or capital letters."""
    found: deque[AuditEntry] = deque(maxlen=limit)
    end = _at(before or "") or SYSTEM.now()
    for span in SPANS:
        found.clear()
        after = f"{max(0, int((end - span) * 1e6)) << 12:016x}"  # as new_id() begins
        for entries in history.pages(kv, NAMESPACE, after, before):
            found.extend(each for key, value in entries if (each := _entry(key, value)) and _has(each, text.lower()))
        if len(found) == limit:
            break
    return list(reversed(found))


def of_job(kv: KV, job_id: str) -> list[AuditEntry]:
    """The acts that changed this job, oldest first: at most the newest NAMED."""
    keys = [key for entries in history.pages(kv, JOBS, f"{job_id}:", f"{job_id};") for key, _ in entries]
    acts = [act for owner, _, act in (key.rpartition(":") for key in keys) if owner == job_id][-NAMED:]
    values = kv.read(NAMESPACE, acts) if acts else []
    return [each for act, value in zip(acts, values, strict=True) if (each := _entry(act, value))]


def _at(act: str) -> float | None:
    """When an act began, by its id."""
    order = order_of(act)
    return None if order is None else (order >> 12) / 1e6


def _entry(key: str, value: bytes | None) -> AuditEntry | None:
    found = decoded(value, AuditEntry)
    if found is not None:
        found.id = key
    return found


def _has(entry: AuditEntry, text: str) -> bool:
    return not text or any(
        text in each.lower() for each in (entry.who, entry.verb, entry.what, entry.how, entry.host, entry.reason)
    )
