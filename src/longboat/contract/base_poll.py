"""Waiting for descriptors as `select.poll` does, also where eventlet's monkey patching has taken that away."""

from __future__ import annotations

import select
from typing import Protocol


class Poll(Protocol):
    """As select.poll."""

    def register(self, fd: int, eventmask: int, /) -> object: ...
    def poll(self, timeout: float, /) -> list[tuple[int, int]]: ...


class _Select:
    """By select.select, which eventlet leaves."""

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def register(self, fd: int, eventmask: int, /) -> None:
        self._masks[fd] = eventmask

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        """`timeout`: in milliseconds."""
        reads, writes = ([fd for fd, mask in self._masks.items() if mask & bit] for bit in (select.POLLIN, select.POLLOUT))
        readable, writable, _ = select.select(reads, writes, [], timeout / 1000)
        masks = dict.fromkeys(readable, select.POLLIN)
        for fd in writable:
            masks[fd] = masks.get(fd, 0) | select.POLLOUT
        return list(masks.items())


def new_poll() -> Poll:
    """Looked for anew each time, as a program may be patched late."""
    return select.poll() if hasattr(select, "poll") else _Select()
