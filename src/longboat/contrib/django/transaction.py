"""Jobs of Django's own transaction, where both are kept in one database, or where that has the outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from longboat.app import Longboat
from longboat.contrib.django.database import database_url
from longboat.tasks.middleware import Middleware
from longboat.tasks.outgoing import Outgoing


class WithCommit(Middleware):
    """What is enqueued in `transaction.atomic()` is stored by its commit, and never was after a rollback."""

    def __init__(self, stores_with: Callable[[Any], bool]) -> None:
        """`stores_with`: whether the transaction of a connection of Django's can store jobs."""
        self._stores_with = stores_with

    def around_enqueue(self, outgoing: Outgoing) -> None:
        if outgoing.connection is None:
            held = (each for each in connections.all(initialized_only=True) if each.in_atomic_block)
            outgoing.connection = next((each for each in held if self._stores_with(each)), None)


def keeps_jobs(connection: Any, app: Longboat) -> bool:
    """Whether the app's jobs are kept in the database of this connection of Django's."""
    if connection.alias != DEFAULT_DB_ALIAS or connection.vendor not in ("postgresql", "sqlite"):
        return False
    url = app.url
    return url == database_url() and url != "memory://"
