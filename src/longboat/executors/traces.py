"""The text of a traceback, as Python prints it: what each place in the code looks like is formatted once."""

from __future__ import annotations

import traceback
from types import CodeType, TracebackType

DEEPEST = 100
"""Frames in one text, at most: the last ones."""
KNOWN = 4096
"""Places that are kept in mind."""
_REPEATED = 3
"""Python writes so many frames of the same line one after the other, and counts the rest."""

_known: dict[tuple[int, int], tuple[CodeType, str]] = {}
"""By the identity of the code and the place in it; the code is held, so that no other gets its identity."""


def traced(error: BaseException, frames: TracebackType | None) -> str:
    """As `traceback.format_exception`, which takes 20 µs a frame. May raise what an exception's own methods raise."""
    if _is_chained(error) or isinstance(error, BaseExceptionGroup) or (text := _text(frames)) is None:
        return "".join(traceback.format_exception(type(error), error, frames, limit=-DEEPEST))
    return f"{text}{''.join(traceback.format_exception_only(type(error), error))}"


def _is_chained(error: BaseException) -> bool:
    return error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__)


def _text(frames: TracebackType | None) -> str | None:
    """None where Python writes it otherwise than line by line."""
    if frames is None:
        return None
    texts: list[str] = []
    before, times = (0, 0), 0
    while frames is not None:
        place = id(frames.tb_frame.f_code), frames.tb_lineno
        before, times = place, times + 1 if place == before else 1
        if times > _REPEATED:
            return None
        texts.append(_place(frames))
        frames = frames.tb_next
    return f"Traceback (most recent call last):\n{''.join(texts[-DEEPEST:])}"


def _place(frame: TracebackType) -> str:
    code = frame.tb_frame.f_code
    place = id(code), frame.tb_lasti
    if (known := _known.get(place)) is not None:
        return known[1]
    text = "".join(traceback.format_tb(frame, 1))
    if len(_known) >= KNOWN:
        _known.clear()
    _known[place] = code, text
    return text
