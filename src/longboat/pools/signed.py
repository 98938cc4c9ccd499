"""Signed: calls as pickles by way of a broker, between programs and workers that have the same key.

Workers of apps that say `pickle=True` include this module, and run its one function in their child processes. Before
anything is unpickled, on either side, its signature is checked. An answer is signed together with its call.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from typing import Any

from longboat.errors import ConfigError
from longboat.pools.way import Call, Packed, Setup, Way
from longboat.tasks.define import with_options

VARIABLE = "LONGBOAT_PICKLE_KEY"
SHORTEST = 32
"""Characters of a key, at least."""
SIZE = 32
"""Bytes of a signature."""


@with_options(executor="process", retries=4, backoff=[0.05], retry_on=())
def run(call: bytes) -> bytes:
    """Run signed calls; returns the signed answer. Raises PermissionError, and reads nothing, if the signature is wrong."""
    from longboat.pools import pickled

    key = _key()
    body = _opened(call, b"call", key)
    if body is None:
        raise PermissionError(
            f"this call is not signed with the worker's {VARIABLE}: it was refused, and nothing of it was unpickled. Give "
            "the program and its workers the same key"
        )
    return _sealed(pickled.run(body), b"answer" + call[:SIZE], key)


class Signed:
    """Another way's calls and answers, signed. Raises ConfigError if this program has no key."""

    def __init__(self, make: Callable[[str, Setup | None], Way], setup: Setup | None) -> None:
        self._key = _key()
        self._way = make("", setup)

    def packed(self, fn: Callable[..., Any], calls: Sequence[Call]) -> Packed:
        made = self._way.packed(fn, calls)
        return made._replace(data=_sealed(made.data, b"call", self._key))

    def opened(self, answer: bytes, packed: Packed) -> list[Any]:
        """Raises PermissionError, and unpickles nothing, if no worker with the key has answered this very call."""
        body = _opened(answer, b"answer" + packed.data[:SIZE], self._key)
        if body is None:
            raise PermissionError(f"the answer is not signed with this program's {VARIABLE}: nothing of it was unpickled")
        return self._way.opened(body, packed)


def _key() -> bytes:
    key = os.environ.get(VARIABLE, "")
    if len(key) < SHORTEST:
        raise ConfigError(
            f"{VARIABLE} must hold the key that pickles are signed with, the same for the program and its workers: at least "
            f'{SHORTEST} characters, such as `python -c "import secrets; print(secrets.token_hex(32))"` prints'
        )
    return key.encode()


def _sealed(body: bytes, what: bytes, key: bytes) -> bytes:
    return _signature(body, what, key) + body


def _opened(data: bytes, what: bytes, key: bytes) -> bytes | None:
    """None: the signature is wrong."""
    body = data[SIZE:]
    return body if hmac.compare_digest(data[:SIZE], _signature(body, what, key)) else None


def _signature(body: bytes, what: bytes, key: bytes) -> bytes:
    return hmac.digest(key, len(what).to_bytes(4, "big") + what + body, "sha256")
