"""Job ids as the 12 bytes that the server keeps them by."""

from __future__ import annotations

import re
from hashlib import blake2b

SIZE = 12
_generated = re.compile(r"[0-7][0-9a-f]{15}-[0-9a-f]{16}").fullmatch
_UNREADABLE = "unreadable-"


def key_of(job_id: str) -> bytes:
    """A generated id: its 8 bytes of time order and 4 of its random ones, so below 0x80. Any other: a hash, from 0x80 up."""
    if len(job_id) == 33 and _generated(job_id):
        return bytes.fromhex(job_id[:16] + job_id[25:])
    if job_id.startswith(_UNREADABLE) and len(job_id) == len(_UNREADABLE) + 2 * SIZE:
        return bytes.fromhex(job_id[len(_UNREADABLE) :])
    digest = blake2b(job_id.encode(errors="surrogatepass"), digest_size=SIZE).digest()
    return bytes([digest[0] | 0x80]) + digest[1:]


def shown(key: bytes) -> str:
    """An id that stands for the key of a job whose message, and id, cannot be read."""
    return f"{_UNREADABLE}{key.hex()}"


def split(keys: bytes) -> list[bytes]:
    """Keys in a row, one by one."""
    return [keys[at : at + SIZE] for at in range(0, len(keys), SIZE)]
