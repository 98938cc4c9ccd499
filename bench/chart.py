"""Bar charts as SVG: what was reached of each goal, the goal being one line for all; and speeds beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

LABEL, BAR, ROW, TOP = 250, 360, 22, 30
MOST = 2.5
"""Bars end here: how far beyond its goal something is matters less than what is short of it."""

STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #444 } .met { fill: #2a7f62 } .missed { fill: #b3452c } line { stroke: #888 }
.peer { fill: #9a9a9a } .faint { fill: #777 } .strong { font-weight: 600; fill: #222 }
@media (prefers-color-scheme: dark) { text { fill: #bbb } .met { fill: #4cb38f } .missed { fill: #e07a5f }
.peer { fill: #777 } .faint { fill: #999 } .strong { fill: #eee } }
</style>"""


def chart(figures: Sequence[Mapping[str, Any]]) -> str:
    """Figures without a goal are left out. Longer is better, whatever the goal's direction."""
    shown = [(one, reached(one)) for one in figures if one["goal"] is not None]
    height = TOP + ROW * len(shown) + 8
    goal = LABEL + BAR / MOST
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LABEL + BAR + 70} {height}" role="img">',
        "<title>What was reached of each goal</title>",
        STYLE,
        f'<text x="{goal:.0f}" y="16" text-anchor="middle">goal</text>',
    ]
    for place, (one, part) in enumerate(shown):
        y = TOP + place * ROW
        width = BAR * min(part, MOST) / MOST
        kind = "met" if one["met"] else "missed"
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(one["name"])}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{width:.1f}" height="{ROW - 7}"/>',
            f'<text x="{LABEL + width + 6:.0f}" y="{y + 12}">{part:.2f}{" ▸" if part > MOST else ""}</text>',
        ]
    lines += [f'<line x1="{goal:.1f}" y1="{TOP - 8}" x2="{goal:.1f}" y2="{height - 4}" stroke-dasharray="3 3"/>', "</svg>"]
    return "\n".join(lines) + "\n"


def reached(one: Mapping[str, Any]) -> float:
    """1.0: exactly the goal; more is better."""
    if one["goal_is"] == "at least":
        return float(one["median"] / one["goal"])
    return float(one["goal"] / one["median"]) if one["median"] else MOST


@dataclass
class Bar:
    name: str
    value: float
    remark: str
    ours: bool


def speeds(title: str, bars: Sequence[Bar]) -> str:
    """Bars on a linear scale from zero, each with its number: a peer's may be too short to be compared by eye."""
    name, bar, row, top = 120, 330, 24, 34
    most = max(one.value for one in bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {name + bar + 170} {top + row * len(bars) + 6}" role="img">',
        f"<title>{escape(title)}</title>",
        STYLE,
        f'<text class="strong" x="{name}" y="18">{escape(title)}</text>',
    ]
    for place, one in enumerate(sorted(bars, key=lambda one: -one.value)):
        y = top + place * row
        width = max(1.0, bar * one.value / most)
        strong = ' class="strong"' if one.ours else ""
        lines += [
            f'<text{strong} x="{name - 8}" y="{y + 13}" text-anchor="end">{escape(one.name)}</text>',
            f'<rect class="{"met" if one.ours else "peer"}" x="{name}" y="{y}" width="{width:.1f}" height="{row - 7}"/>',
            f'<text{strong} x="{name + width + 6:.0f}" y="{y + 13}">{one.value:,.0f} <tspan class="faint">'
            f"{escape(one.remark)}</tspan></text>",
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
