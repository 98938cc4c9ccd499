"""What the fields of a job may hold: lengths and numbers with which every store and every worker can do something.

They stand in the types, so whatever decodes a job checks them, wherever it came from; `codec.encode_job` refuses a job that
would be refused then.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

MESSAGE_LIMIT = 1_000_000
"""Bytes of the encoded arguments or result of one job, at most: big data goes by path."""

LONGEST_NAME = 255
"""Characters of an id, a queue, a task's name or a key, at most: people may choose 200, and Longboat adds to some."""

LONGEST = 1e11
"""Seconds, at most: 3,000 years."""

MOST = 2**31 - 1

Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
Value = Annotated[bytes, msgspec.Meta(max_length=MESSAGE_LIMIT)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=LONGEST)]
"""No NaN and no infinity: both compare false."""
Amount = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Priority = Annotated[int, msgspec.Meta(ge=-MOST - 1, le=MOST)]
