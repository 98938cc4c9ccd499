"""Text of jobs, such as errors, names and arguments, for places where somebody else's characters must do nothing."""

from __future__ import annotations


def escaped(text: str) -> str:
    """On one line. What a terminal or a viewer of logs would obey is written as Python writes it: line breaks, escape
    sequences, control characters, reversed text.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def escaped_lines(text: str) -> str:
    """As `escaped`, but line breaks stay; lines after the first are indented, so that none looks like a line of its own."""
    first, *rest = text.split("\n")
    lines = (line.replace("\t", "    ") for line in rest)
    return "\n".join([escaped(first), *(escaped(line if line.startswith("  ") else f"  {line}") for line in lines)])
