"""The layout of a store's keys (docs/redis.md) has a version, which the store says. Only this version is worked with."""

from __future__ import annotations

from longboat.errors import BrokerError, StoreTooNew

LAYOUT = 1
"""Grows with every change of what the keys mean."""

FIELDS = ("layout", "place", "ended")
"""Of the hash `numbers`: the version, and what every store with jobs has, whatever its version."""


def check_layout(fields: list[bytes | None], where: str, prefix: str) -> None:
    """Raises StoreTooNew, or BrokerError for an older layout."""
    said, *others = fields
    version = int(said) if said is not None else 0 if any(others) else LAYOUT
    if version > LAYOUT:
        raise StoreTooNew(
            f"{where}: a newer Longboat wrote the keys of {prefix} (layout {version}; this one knows {LAYOUT}). "
            "Upgrade Longboat here."
        )
    if version < LAYOUT:
        raise BrokerError(
            f"{where}: an older Longboat wrote the keys of {prefix} (layout {version}; this one needs {LAYOUT}). "
            "Drain them with that Longboat and delete them, or use another prefix (?prefix=…)."
        )
