"""Durations and rates as people read them."""

from __future__ import annotations


def span(length: float | None) -> str:
    """A duration in a few letters: 340 µs, 12 ms, 5.2 s, 12 m, 3 h 20 m, 4 d."""
    if length is None:
        return "–"
    length = max(0.0, length)
    if length < 0.001:
        return f"{length * 1e6:.0f} µs"
    if length < 1:
        return f"{length * 1e3:.0f} ms"
    if length < 60:
        return f"{length:.1f} s" if length < 10 else f"{length:.0f} s"
    minutes, hours, days = length / 60, length / 3600, length / 86400
    if hours < 1:
        return f"{minutes:.0f} m"
    if days < 1:
        return f"{int(hours)} h {int(minutes % 60)} m" if hours < 10 else f"{hours:.0f} h"
    return f"{days:.0f} d"


def rate(per_second: float | None) -> str:
    """A rate in the unit in which it is above 1: 3.2/s, 12/min, 4/h."""
    if per_second is None:
        return "–"
    if not per_second:
        return "0/s"
    for unit, seconds in (("s", 1.0), ("min", 60.0), ("h", 3600.0)):
        if (number := per_second * seconds) >= 1:
            return f"{number:,.1f}/{unit}" if number < 10 else f"{number:,.0f}/{unit}"
    return "<1/h"
