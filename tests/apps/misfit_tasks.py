"""Versions of one task, before and after deploys."""

from __future__ import annotations


def before(a: int, removed: int = 0) -> int:
    return a + removed


def after(a: int, needed: int) -> int:
    return a + needed


def renamed(x: int, y: int) -> int:
    return 10 * x + y


def text() -> str:
    return "text"


async def before_async(a: int, removed: int = 0) -> int:
    return before(a, removed)


async def after_async(a: int, needed: int) -> int:
    return after(a, needed)
