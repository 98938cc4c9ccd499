"""Stream: what changes on a page while somebody looks at it, as server-sent events."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
from starlette.types import Scope

from longboat.dashboard.ask import Refused

EACH = 0.7
"""Seconds between two looks at what a page shows."""
BEAT = 10.0
"""Seconds after which a stream says that it lives. The page's script (stream.js) waits 25."""
ELSEWHERE = 4.0
"""Seconds after which a stream ends in a server that waits for all responses before it stops. The page asks for another."""
ENDED_BY_SERVER = "longboat.ends_streams"
"""In the scope of a request: the server closes streams when it stops, so they need no end of their own."""
SHORT = 12
"""What is kept is sent again if it has fewer characters: to name it would be longer."""

_MAIN = '<main id="live"'
_TIMES = re.compile(r"(<time [^>]*>)[^<]*(?=</time>)")
_PIECE = re.compile(r"[^>\n,]*[>\n,]|[^>\n,]+")
"""stream.js cuts texts in the same way."""

Change = str | tuple[int, int]
"""A new text; or so many pieces of the old text, from this one on."""


class Shown(msgspec.Struct):
    """What a page shows."""

    text: str
    """The inside of its main element. The texts of <time> are left out: they follow from its attributes."""
    live: bool = True
    """Whether it may still change."""

    @property
    def mark(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def shown(page: str, *, live: bool = True) -> Shown:
    """The part of a whole page that is kept up to date."""
    start = page.index(">", page.index(_MAIN)) + 1
    return Shown(_TIMES.sub(r"\1", page[start : page.rindex("</main>")]), live)


def lifetime(scope: Scope) -> float:
    """Seconds for which a stream may last in the server that has this request. A WSGI server holds a thread for each."""
    if "wsgi_environ" in scope:
        return 0.0
    return math.inf if scope.get(ENDED_BY_SERVER) else ELSEWHERE


async def events(
    last: Shown, look: Callable[[], Awaitable[Shown]], seen: str, lasts: float, gone: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    """The stream of a page that showed `last` a moment ago, to a browser that shows what has the mark `seen`.

    A `message` has the new mark, and the whole text or, after a whole one, what has changed. `stale`: why the page cannot be
    looked up; `end`: it will not change any more; `beat`: nothing.
    """
    begun = said = time.monotonic()
    sent: list[str] = []
    yield ": longboat\n\n"
    while True:
        if last.mark != seen:
            pieces = _PIECE.findall(last.text)
            yield _event("message", [last.mark, changes(sent, pieces) if sent else last.text])
            seen, sent, said = last.mark, pieces, time.monotonic()
        if not last.live:
            yield _event("end", 1)
        if not last.live or time.monotonic() - begun >= lasts:
            return
        await asyncio.sleep(EACH)
        if await gone():
            return
        try:
            last = await look()
        except Refused as refused:
            yield _event("stale", refused.what)
            if refused.status in (401, 403):
                return
            said = time.monotonic()
        if time.monotonic() - said >= BEAT:
            yield _event("beat", 1)
            said = time.monotonic()


def changes(old: Sequence[str], new: Sequence[str]) -> list[Change]:
    """How to make the new pieces of the old ones. In linear time, so not always the shortest way."""
    where: dict[str, int | None] = {}
    for place, piece in enumerate(old):
        where[piece] = None if piece in where else place
    found: list[Change] = []
    fresh: list[str] = []
    at = n = 0
    while n < len(new):
        first = at if at < len(old) and old[at] == new[n] else where.get(new[n])
        if first is None:
            fresh.append(new[n])
            at, n = at + 1, n + 1  # as if one piece had taken the place of another
            continue
        count = _alike(old, first, new, n)
        if sum(map(len, new[n : n + min(count, SHORT)])) < SHORT:
            fresh.extend(new[n : n + count])
        else:
            if fresh:
                found.append("".join(fresh))
                fresh = []
            found.append((first, count))
        at, n = first + count, n + count
    if fresh:
        found.append("".join(fresh))
    return found


def _alike(old: Sequence[str], first: int, new: Sequence[str], n: int) -> int:
    count = 1
    while first + count < len(old) and n + count < len(new) and old[first + count] == new[n + count]:
        count += 1
    return count


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n"
