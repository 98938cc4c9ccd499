"""Numbers, times and durations as pages show them: the filters of the templates."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from urllib.parse import quote

from markupsafe import Markup

from longboat.core.clock import SYSTEM
from longboat.observe.words import rate, span


def number(value: float | None) -> str:
    """12, 4,310, 0.4."""
    if value is None:
        return "–"
    if 0 < value < 0.05:
        return "<0.1"
    if value != int(value):
        return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{int(value):,}"


def brief(value: float | None) -> str:
    """12, 4,310, 81.2k, 1.2M: for small spaces."""
    if value is None:
        return number(None)
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:.1f}{letter}"
    return number(value)


def size(value: int) -> str:
    """Bytes as 812 B, 64 kB, 1.5 MB."""
    amount = float(value)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit != "MB" else f"{amount:.1f} MB"
        amount /= 1000
    return f"{amount:.1f} GB"


def percent(part: float, whole: float) -> str:
    if not whole or not part:
        return "0 %"
    share = 100 * part / whole
    return f"{share:.1f} %" if share < 10 else f"{share:.0f} %"


def moment(at: float | None) -> str:
    """A wall-clock time, in UTC."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return repr(at)


def ago(at: float | None) -> Markup:
    """How long ago, or how far ahead; the page's script (live.js) keeps it up to date."""
    if at is None:
        return Markup("–")
    left = at - SYSTEM.now()
    text = f"in {span(left)}" if left > 0 else f"{span(-left) if left < -1 else 'a moment'} ago"
    return Markup('<time data-at="{}" title="{}">{}</time>').format(f"{at:.1f}", moment(at), text)


def due(at: float) -> Markup:
    """When it happens; what is over has not happened yet."""
    return ago(at) if at > SYSTEM.now() else Markup("now")


def lasting(since: float | None) -> Markup:
    """How long it has lasted."""
    if since is None:
        return Markup("–")
    length = max(0.0, SYSTEM.now() - since)
    return Markup('<time data-since="{}" title="since {}">{}</time>').format(f"{since:.1f}", moment(since), span(length))


def segment(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="@:~!$&'()*+,;=-._ ").replace(" ", "%20")


def segment_path(path: str) -> str:
    """A whole path, as in a link."""
    return quote(path, safe="/@:~!$&'()*+,;=-._")


def quoted(word: str) -> str:
    """A word of a search, quoted if it has to be."""
    return shlex.quote(word)


FILTERS = {
    "span": span,
    "rate": rate,
    "number": number,
    "brief": brief,
    "size": size,
    "moment": moment,
    "ago": ago,
    "due": due,
    "lasting": lasting,
    "segment": segment,
    "segment_path": segment_path,
    "quoted": quoted,
}
