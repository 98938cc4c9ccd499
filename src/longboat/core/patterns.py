"""Patterns of names, such as `mail.*`: `*` and `?` as in a shell, and nothing else."""

from __future__ import annotations

from fnmatch import fnmatchcase


def wild(pattern: str) -> bool:
    """Whether the pattern can match several texts."""
    return "*" in pattern or "?" in pattern


def same(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text."""
    return fnmatchcase(text, pattern.replace("[", "[[]")) if wild(pattern) else pattern == text
