"""Puts the results of the jobs that a job came after into its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from longboat.contract.broker import Lease
from longboat.core import codec
from longboat.core.constraints import Slots
from longboat.core.text import counted
from longboat.errors import Undecodable


def fill(lease: Lease) -> None:
    """Put the parents' results into the payload of the lease's job. Raises Undecodable where they do not fit together."""
    constraints = lease.job.constraints
    if constraints is None or not constraints.into:
        return
    if len(lease.inputs) != len(constraints.after):
        after = counted(len(constraints.after), "job")
        raise Undecodable(f"{counted(len(lease.inputs), 'result')} came with it, but it comes after {after}")
    named: dict[str, Any] = codec.decode(lease.job.payload, dict[str, msgspec.Raw])
    for name, slots in constraints.into.items():
        named[name] = _value(slots, lease.inputs)
    lease.job = msgspec.structs.replace(lease.job, payload=codec.encode(named))


def _value(slots: Slots, inputs: Sequence[bytes]) -> Any:
    if isinstance(slots, int):
        return msgspec.Raw(inputs[slots] or codec.NONE)
    return [_value(each, inputs) for each in slots]
