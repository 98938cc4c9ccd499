"""Screen: a whole terminal to draw on, and the keys that are pressed there; given back as it was found."""

from __future__ import annotations

import os
import re
import select
import termios
import time
import tty
from collections.abc import Sequence
from types import TracebackType
from typing import Self

KEYS = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
}
"""What terminals send for the keys that have a name here; any other is its character."""

_BEGIN = "\x1b[?1049h\x1b[?25l"
"""The other screen, without a cursor."""
_END = "\x1b[?25h\x1b[?1049l"
_TOGETHER = "\x1b[?2026h", "\x1b[?2026l"
"""Around what is to be shown at once; terminals that do not know it ignore it."""
_SEQUENCE = re.compile("\x1b(?:\\[[0-9;]*[A-Za-z~]|O[A-Z])")
"""What a key that is no character is sent as."""
_TICK = 0.1
"""Seconds between two looks at the size, while no key is pressed."""


class Screen:
    """Used as a context manager. `source` and `target` are open files of one terminal."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._typed = ""

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._source)
        tty.setcbreak(self._source)
        self._write(_BEGIN)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._write(_END)
        termios.tcsetattr(self._source, termios.TCSADRAIN, self._before)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return os.get_terminal_size(self._target)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, none of which is wider than the screen, and nothing else."""
        before, after = _TOGETHER
        self._write(f"{before}\x1b[H" + "\n".join(f"{line}\x1b[K" for line in lines) + f"\x1b[J{after}")

    def key(self, seconds: float) -> str:
        """The next key; "" if none is pressed for so long, or when the size changes meanwhile."""
        if self._typed:
            return self._next()
        size, end = self.size, time.monotonic() + seconds
        while not self._pressed(_TICK):
            if self.size != size or time.monotonic() >= end:
                return ""
        self._typed += os.read(self._source, 64).decode(errors="replace")
        return self._next()

    def _next(self) -> str:
        found = _SEQUENCE.match(self._typed)
        text = found[0] if found else self._typed[:1]
        self._typed = self._typed[len(text) :]
        return KEYS.get(text, text)

    def _pressed(self, seconds: float) -> bool:
        return bool(select.select([self._source], [], [], seconds)[0])

    def _write(self, text: str) -> None:
        data = text.encode(errors="replace")
        while data:
            data = data[os.write(self._target, data) :]
