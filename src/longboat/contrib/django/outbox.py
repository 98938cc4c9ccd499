"""The outbox table in a database of the project's, for jobs that a broker elsewhere gets after the commit."""

from __future__ import annotations

from typing import Any

from django.db import connections

from longboat.client.outbox_table import Connect


def opener(alias: str) -> Connect:
    """Opens connections to this database that belong to no request: each call here has its own, in whichever thread."""

    def connect() -> Any:
        connection = connections[alias].copy()
        connection.inc_thread_sharing()
        connection.connect()
        connection.set_autocommit(False)
        return connection

    return connect
