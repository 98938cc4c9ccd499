"""The navigation's entries `folder/*`: each stands for the pages of its folder that are named nowhere else, by title."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel


def written_out(nav: list[Any], files: Files) -> list[Any]:
    named = set(names(nav))
    return [each for entry in nav for each in _entries(entry, named, files)]


def names(nav: Any) -> Iterator[str]:
    """Every page that the navigation names, and every `folder/*`."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from names(each)


def _entries(entry: Any, named: set[str], files: Files) -> list[Any]:
    if isinstance(entry, dict):
        ((title, inner),) = entry.items()
        if isinstance(inner, list):
            inner = [each for one in inner for each in _entries(one, named, files)]
        return [{title: inner}]
    if not entry.endswith("/*"):
        return [entry]
    inside = [file for file in files.documentation_pages() if file.src_uri.rpartition("/")[0] == entry.removesuffix("/*")]
    free = [file for file in inside if file.src_uri not in named and file.inclusion is not InclusionLevel.NOT_IN_NAV]
    return [file.src_uri for file in sorted(free, key=_title)]


def _title(file: File) -> tuple[str, str]:
    """What it is sorted by. Pages that begin with a number stand in that order."""
    number = re.match(r"\d+-", file.src_uri.rpartition("/")[2])
    heading = re.search(r"^# (.*)", file.content_string, re.M)
    return (number[0] if number else "", heading[1].lower() if heading else file.src_uri)
