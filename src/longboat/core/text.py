"""Text of jobs, such as errors, names and arguments, for places where somebody else's characters must do nothing."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """A number of things, such as "1 job" and "1,200 jobs"; "process" and the like get "es"."""
    plural = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number:,} {what}{plural}"


def escaped(text: str) -> str:
    """On one line. What a terminal or a viewer of logs would obey is written as Python writes it: line breaks, escape
    sequences, control characters, reversed text.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def each_line_escaped(text: str) -> str:
    """As `escaped`, but line breaks stay, for a terminal."""
    return "\n".join(map(escaped, text.split("\n")))


def escaped_json(document: str) -> str:
    """The same JSON, with what a terminal would obey within its texts written as JSON escapes it."""
    if document.isprintable():
        return document
    import json  # the command line's --help does without

    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in document)


def escaped_lines(text: str) -> str:
    """As `escaped`, but line breaks stay; lines after the first are indented, so that none looks like a line of its own."""
    first, *rest = text.split("\n")
    lines = [line.replace("\t", "    ") for line in rest]
    indent = "" if all(line.startswith("  ") for line in lines) else "  "  # all alike: a traceback keeps its shape
    return "\n".join([escaped(first), *(escaped(indent + line) for line in lines)])
