"""What ties a job to others, as the server is told it."""

from __future__ import annotations

import msgspec

from longboat.brokers.redis.keys import key_of
from longboat.brokers.redis.server import Value
from longboat.core.constraints import Constraints


def is_constrained(constraints: Constraints) -> bool:
    """Whether the server has to know: a flow alone is only carried."""
    return bool(constraints.after or constraints.limits or constraints.fairness_key)


def constraint_values(constraints: Constraints) -> tuple[Value, Value, Value]:
    """Parents, turn and gates: see lua/ties.lua."""
    return b"".join(map(key_of, constraints.after)), constraints.fairness_key, _limits(constraints)


def _limits(constraints: Constraints) -> bytes:
    """False for what is not limited: cmsgpack has no nil within a table."""
    if not constraints.limits:
        return b""
    return msgspec.msgpack.encode(
        [
            (
                limit.key,
                False if limit.running is None else limit.running,
                False if limit.starts is None else limit.starts,
                limit.per,
            )
            for limit in constraints.limits
        ]
    )
