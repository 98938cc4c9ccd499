"""Asking for fewer at a time where one answer would be over the limit of a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from longboat.errors import TooLarge

T = TypeVar("T")


def in_halves(ask: Callable[[Sequence[str]], list[T]], ids: Sequence[str]) -> list[T]:
    """What `ask` gives for each of these, asked for in parts if the whole is TooLarge. Raises it for a single one."""
    try:
        return ask(ids)
    except TooLarge:
        if len(ids) < 2:
            raise
    half = len(ids) // 2
    return in_halves(ask, ids[:half]) + in_halves(ask, ids[half:])
