"""The layout of the entries (entries.py) has a version, which one of them says. Only this version is worked with."""

from __future__ import annotations

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.codec import decoded
from longboat.errors import BrokerError, StoreTooNew

LAYOUT = 1
"""Grows with every change of what the entries mean."""

KEY = "layout"


class Versioned:
    """One namespace of a KV, which is asked once what its layout is. Raises StoreTooNew, or BrokerError for an older one."""

    def __init__(self, kv: KV, namespace: str) -> None:
        self._kv = kv
        self._namespace = namespace
        self._checked = False
        self._noted = False

    def to_read(self) -> KV:
        if not self._checked:
            self._check()
        return self._kv

    def to_write(self) -> KV:
        if not self._noted:
            version = Entry(KEY, msgspec.msgpack.encode(LAYOUT))
            if not self._kv.put_if_absent(self._namespace, [version])[0]:
                self._check()
            self._noted = self._checked = True
        return self._kv

    def _check(self) -> None:
        (said,) = self._kv.read(self._namespace, [KEY])
        version = LAYOUT if said is None else decoded(said, int) or 0
        if version > LAYOUT:
            raise StoreTooNew(
                f"a newer Longboat wrote the entries of {self._namespace!r} in this store (layout {version}; "
                f"this one knows {LAYOUT}). Upgrade Longboat here."
            )
        if version < LAYOUT:
            raise BrokerError(
                f"an older Longboat wrote the entries of {self._namespace!r} in this store (layout {version}; this one "
                f"needs {LAYOUT}). Let workers of that version run what is left, or use another store or prefix."
            )
        self._checked = True
