"""Misfits: jobs whose arguments fit no worker's task yet. What a broker's KV keeps of them: since when, and why."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.codec import decoded
from longboat.errors import Unsupported

WHY = "misfits"
"""The KV namespace of what workers said of such a job, by its id."""
PATIENT = "misfits.patient"
"""As long as an entry is here, the job waits. What is in WHY outlasts it."""
LONGEST = 2000
UNKNOWN = "misfits.unknown"
"""The KV namespace of jobs whose task a worker did not know, by their ids: written where no job can be looked up."""
UNKNOWN_KEPT = 86400.0


class Unknown(msgspec.Struct, array_like=True):
    """A job whose task a worker did not know."""

    task: str
    queue: str


def over(kv: KV, why: Mapping[str, str], patience: float) -> set[str]:
    """Note what is wrong with these jobs, by id; returns those that were noted first more than `patience` seconds ago, and
    forgets them."""
    ids = list(why)
    try:
        new = [each for each, known in zip(ids, kv.read(WHY, ids), strict=True) if known is None]
        # In this order: a job of which there is only the reason has waited long enough.
        kv.write(PATIENT, [Entry(each, b"", patience) for each in new])
        kv.write(WHY, [Entry(each, why[each][:LONGEST].encode(), 2 * patience) for each in new])
        found = {each for each, known in zip(ids, kv.read(PATIENT, ids), strict=True) if known is None}
        kv.write(WHY, [Entry(each, None) for each in found])
    except Unsupported:
        return set()
    return found


def reason(kv: KV, job_id: str) -> str:
    """What is wrong with this job; "" if nothing is known to be."""
    try:
        value = kv.read(WHY, [job_id])[0]
    except Unsupported:
        return ""
    return (value or b"").decode("utf-8", "replace")


def note_unknown(kv: KV, jobs: Mapping[str, Unknown]) -> None:
    """Tell of these jobs, by id. Raises what a write raises."""
    kv.write(UNKNOWN, [Entry(each, msgspec.msgpack.encode(it), UNKNOWN_KEPT) for each, it in jobs.items()])


def unknown(kv: KV, job_id: str) -> Unknown | None:
    """The task that a worker did not know when it received the job, within a day. Raises what a read raises."""
    return decoded(kv.read(UNKNOWN, [job_id])[0], Unknown)
