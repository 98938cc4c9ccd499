"""Jobs of Django's own transaction, where both are kept in one database."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from longboat.app import Longboat
from longboat.contrib.django.database import database_url
from longboat.tasks.middleware import Middleware
from longboat.tasks.outgoing import Outgoing


class WithCommit(Middleware):
    """What is enqueued in `transaction.atomic()` is stored by its commit, and never was after a rollback."""

    def __init__(self, app: Longboat) -> None:
        self._app = app

    def around_enqueue(self, outgoing: Outgoing) -> None:
        connection = connections[DEFAULT_DB_ALIAS]
        if outgoing.connection is None and connection.in_atomic_block and keeps_jobs(connection, self._app):
            outgoing.connection = connection


def keeps_jobs(connection: Any, app: Longboat) -> bool:
    """Whether the app's jobs are kept in the database of this connection of Django's."""
    if connection.alias != DEFAULT_DB_ALIAS or connection.vendor not in ("postgresql", "sqlite"):
        return False
    url = app.url
    return url == database_url() and url != "memory://"
