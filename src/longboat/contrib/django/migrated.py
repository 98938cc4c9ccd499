"""What follows `manage.py migrate`, which also makes the databases of tests."""

from __future__ import annotations

import contextlib
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from longboat.client.outbox_table import OutboxTable
from longboat.connect import connect
from longboat.contract.optional import migrations
from longboat.contrib.django.app import app
from longboat.core.urls import whole
from longboat.errors import ConfigError

_made: set[str] = set()
"""The stores that were made, by URL: a test that empties its tables tells of a migration too."""


def migrated(*, using: str, **_: Any) -> None:
    """The receiver of `post_migrate`: make the tables, as the role that migrates may do and others may not.

    For a test's database: what was opened before is closed, since it is another one. So is, before it is dropped, what is
    open then.
    """
    try:
        url = whole(app.url)
        outbox = app.outbox if app.outbox_alias == using else None
    except (ConfigError, ImproperlyConfigured):  # `check` says so
        return
    if outbox is not None:
        with contextlib.closing(OutboxTable(outbox)) as table:
            table.create()
    if using != DEFAULT_DB_ALIAS or url in _made:
        return
    _made.add(url)
    app.close()
    if not app.same_database(connections[using]):
        return
    _close_before_drop(connections[using].creation)
    with contextlib.closing(connect(url)) as broker:
        its = migrations(broker)
        if its is None:
            broker.inspector.counts()  # a file's are made when it is opened
        else:
            its.run()


def _close_before_drop(creation: Any) -> None:
    drop = creation.destroy_test_db

    def close_and_drop(*args: Any, **kwargs: Any) -> Any:
        app.close()
        _made.discard(whole(app.url))
        return drop(*args, **kwargs)

    if drop.__name__ != close_and_drop.__name__:
        creation.destroy_test_db = close_and_drop
