"""When a job is stored that was enqueued within a transaction of Django: with it, or after it, and never without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from django.db import connections

from longboat.contrib.django import app


class Waiting:
    """A job that waits for a commit. Only the transaction holds it, so that a rollback forgets it."""

    def __init__(self, result: Any, store: Callable[[], None]) -> None:
        self.result = result
        self.store = store

    def __call__(self) -> None:
        """The commit has come."""
        _waiting.pop(self.result.id, None)
        self.store()


_waiting: WeakValueDictionary[str, Waiting] = WeakValueDictionary()


def waiting(job_id: str) -> Any:
    """The TaskResult of a job that waits for a commit in this process; None if none does."""
    found = _waiting.get(job_id)
    return None if found is None else found.result


def transactions() -> list[Any]:
    """The connections of this thread that are in a transaction."""
    return [
        each
        for each in connections.all(initialized_only=True)
        if each.in_atomic_block or (each.connection is not None and not each.autocommit)
    ]


def own(held: Sequence[Any]) -> Any:
    """The one of these whose transaction can store jobs; None if there is none."""
    return next((each for each in held if app.stores_with(each)), None)


def after(held: Sequence[Any], result: Any, store: Callable[[], None]) -> None:
    """Call `store` once all these transactions are committed; never, if one of them is rolled back."""
    waits = Waiting(result, store)
    _waiting[result.id] = waits
    _chain(list(held), waits)


def _chain(held: list[Any], waits: Waiting) -> None:
    if not held:
        waits()
        return
    first, *others = held

    def committed() -> None:
        _chain([each for each in others if each.in_atomic_block], waits)

    first.on_commit(committed)
