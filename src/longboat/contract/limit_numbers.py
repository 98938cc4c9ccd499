"""The present numbers of limits: entries that workers write, by which jobs go that were enqueued with other numbers.

A broker that has limits looks here for the name of each limit of a job, when it claims and when it unblocks. Where it finds
nothing, or cannot read it, the numbers in the job hold. The housekeeping looks at blocked jobs again within 2 s.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from longboat.core.constraints import JobLimit

NAMESPACE = "limits"
"""Of the entries. Their keys are names of limits."""
_MOST = 999_999_999
FORM = r"\[(null|[0-9]{1,9}),(null|[0-9]{1,9}),([0-9]{1,9}\.[0-9]{6})\]"
"""A value: `running`, `starts` and `per`, in a form that Lua and SQL can read, too."""
_read = re.compile(FORM.encode()).fullmatch


def numbers(running: int | None = None, starts: int | None = None, per: float = 0.0) -> bytes:
    """The value of an entry. Without `running` and `starts` the limit holds nothing back."""
    most = ["null" if each is None else min(each, _MOST) for each in (running, starts)]
    return f"[{most[0]},{most[1]},{min(per, _MOST):.6f}]".encode()


@lru_cache(10_000)
def at_present(limit: JobLimit, value: bytes | None) -> JobLimit:
    """The limit with the numbers in the entry of its name, if there is one."""
    found = _read(value) if value is not None else None
    if found is None:
        return limit
    running, starts = (None if each == b"null" else int(each) for each in found.groups()[:2])
    return msgspec.structs.replace(limit, running=running, starts=starts, per=float(found[3]))
