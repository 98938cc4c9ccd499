"""A job's constraints, as the server is told them."""

from __future__ import annotations

import msgspec

from longboat.brokers.redis.keys import key_of
from longboat.core.constraints import Constraints


def is_constrained(constraints: Constraints) -> bool:
    """Whether the server has to know: a flow alone is only carried."""
    return bool(constraints.after or constraints.limits or constraints.fairness_key)


def constraint_values(constraints: Constraints) -> tuple[bytes, str, bytes]:
    """Parents, fairness key and limits: see lua/constrained.lua."""
    # False where there is no limit: cmsgpack has no nil in a table.
    limits = [
        [False if value is None else value for value in (each.key, each.running, each.starts, each.per, each.name)]
        for each in constraints.limits
    ]
    parents = b"".join(map(key_of, constraints.after))
    return parents, constraints.fairness_key, msgspec.msgpack.encode(limits) if limits else b""
