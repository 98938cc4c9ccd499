"""What ties a job to others, as the server is told it."""

from __future__ import annotations

import msgspec

from longboat.brokers.redis.keys import key_of
from longboat.brokers.redis.server import Value
from longboat.core.constraints import Ties


def is_tied(ties: Ties) -> bool:
    """Whether the server has to know: a flow alone is only carried."""
    return bool(ties.after or ties.gates or ties.turn)


def tied_values(ties: Ties) -> tuple[Value, Value, Value]:
    """Parents, turn and gates: see lua/ties.lua."""
    return b"".join(map(key_of, ties.after)), ties.turn, _gates(ties)


def _gates(ties: Ties) -> bytes:
    """False for what is not limited: cmsgpack has no nil within a table."""
    if not ties.gates:
        return b""
    return msgspec.msgpack.encode(
        [
            (
                gate.key,
                False if gate.running is None else gate.running,
                False if gate.starts is None else gate.starts,
                gate.per,
            )
            for gate in ties.gates
        ]
    )
