"""Pages by their folder: the navigation's entries `folder/*`, and the list that stands for LIST on a folder's first page.

An entry `folder/*` stands for the pages of its folder that are named nowhere else, by title.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

from tools.site.llms import summary

LIST = "<!-- the pages of this folder -->"


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
    return [file.src_uri for file in _inside(entry.removesuffix("/*"), files) if file.src_uri not in named]


def listed(uri: str, files: Files) -> str:
    """The other pages of its folder, each with its first sentence."""
    others = [file for file in _inside(uri.rpartition("/")[0], files) if file.src_uri != uri]
    rows = [f"| [{_heading(file)}]({file.src_uri.rpartition('/')[2]}) | {summary(file.content_string)} |" for file in others]
    return "\n".join(["| | |\n|---|---|", *rows])


def _inside(folder: str, files: Files) -> list[File]:
    found = [file for file in files.documentation_pages() if file.src_uri.rpartition("/")[0] == folder]
    return sorted((file for file in found if file.inclusion is not InclusionLevel.NOT_IN_NAV), key=_title)


def _heading(file: File) -> str:
    found = re.search(r"^# (.*)", file.content_string, re.M)
    return found[1] if found else file.src_uri


def _title(file: File) -> tuple[str, str]:
    """What it is sorted by. Pages whose names begin with a number stand in that order."""
    number = re.match(r"\d+-", file.src_uri.rpartition("/")[2])
    return (number[0] if number else "", _heading(file).lower())
