"""What every broker checks of the entries that it is given."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.contract.kv import ENTRY_LIMIT, Entry
from longboat.errors import TooLarge


def check_entries(namespace: str, entries: Sequence[Entry]) -> None:
    """Raises TooLarge for a value over ENTRY_LIMIT."""
    for entry in entries:
        if entry.value is not None and len(entry.value) > ENTRY_LIMIT:
            raise TooLarge(
                f"the entry {entry.key!r} of {namespace!r} has {len(entry.value):,} bytes; the limit is {ENTRY_LIMIT:,}"
            )
