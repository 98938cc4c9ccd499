"""A chart of latencies on a logarithmic scale: of each queue and load, a bar from p50 to p99, and a thin line to p99.9."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from bench.chart import STYLE

LABEL, WIDE, ROW, HEAD = 130, 380, 18, 52


class Box(NamedTuple):
    name: str
    part: int
    """Per cent of what it bears."""
    times: Sequence[float]
    """Milliseconds at p50, p99 and p99.9."""


def spread(title: str, panels: Mapping[str, Sequence[Box]]) -> str:
    """Panels one below the other, on one scale. The first name is ours."""
    every = [time for boxes in panels.values() for box in boxes for time in box.times]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    height = sum(HEAD + ROW * len(boxes) for boxes in panels.values()) + 10

    def x(time: float) -> float:
        return LABEL + WIDE * (math.log10(time) - low) / (high - low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LABEL + WIDE + 190} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        STYLE,
    ]
    top = 0
    for panel, boxes in panels.items():
        bottom = top + HEAD + ROW * len(boxes)
        lines.append(f'<text class="strong" x="{LABEL}" y="{top + 18}">{escape(panel)}: p50 to p99, and to p99.9</text>')
        for power in range(low, high + 1):
            at = x(10**power)
            lines += [
                f'<line x1="{at:.1f}" y1="{top + 42}" x2="{at:.1f}" y2="{bottom - 4}" stroke-dasharray="2 4"/>',
                f'<text class="faint" x="{at:.1f}" y="{top + 36}" text-anchor="middle">{10.0**power:g} ms</text>',
            ]
        for place, box in enumerate(boxes):
            lines += _row(box, top + HEAD + ROW * place, x, ours=box.name == boxes[0].name)
        top = bottom
    return "\n".join([*lines, "</svg>"]) + "\n"


def _row(box: Box, y: int, x: Callable[[float], float], *, ours: bool) -> list[str]:
    p50, p99, p999 = box.times
    kind, strong = ("met", ' class="strong"') if ours else ("peer", "")
    text = " … ".join(f"{time:,.0f}" if time >= 100 else f"{time:.3g}" for time in box.times)
    middle = y + ROW / 2 - 2
    return [
        f'<text{strong} x="{LABEL - 8}" y="{y + 11}" text-anchor="end">{escape(box.name)}, {box.part} %</text>',
        f'<rect class="{kind}" x="{x(p50):.1f}" y="{y}" width="{max(2.0, x(p99) - x(p50)):.1f}" height="{ROW - 6}"/>',
        f'<line x1="{x(p99):.1f}" y1="{middle}" x2="{x(p999):.1f}" y2="{middle}"/>',
        f'<text{strong} x="{x(p999) + 6:.0f}" y="{y + 11}">{text}</text>',
    ]
