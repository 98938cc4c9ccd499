"""A job's constraints, as the server is told them."""

from __future__ import annotations

import msgspec

from longboat.brokers.redis.keys import key_of
from longboat.brokers.redis.server import Value
from longboat.core.constraints import Constraints


def is_constrained(constraints: Constraints) -> bool:
    """Whether the server has to know: a flow alone is only carried."""
    return bool(constraints.after or constraints.limits or constraints.fairness_key)


def constraint_values(constraints: Constraints) -> tuple[Value, Value, Value]:
    """Parents, fairness key and limits: see lua/constrained.lua."""
    # False where there is no limit: cmsgpack has no nil in a table.
    limits = [
        (each.key, False if each.running is None else each.running, False if each.starts is None else each.starts, each.per)
        for each in constraints.limits
    ]
    parents = b"".join(map(key_of, constraints.after))
    return parents, constraints.fairness_key, msgspec.msgpack.encode(limits) if limits else b""
