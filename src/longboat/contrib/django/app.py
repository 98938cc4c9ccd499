"""The app that a Django project has, made from its settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from longboat.app import Longboat
from longboat.client.outbox_table import Connect
from longboat.client.spool import spool_url
from longboat.connect import settled
from longboat.contract.capabilities import Capability
from longboat.contrib.django.connections import AsInRequest
from longboat.contrib.django.database import DJANGO, database_url
from longboat.contrib.django.outbox import opener
from longboat.contrib.django.transaction import WithCommit, keeps_jobs
from longboat.core.urls import Url

OPTIONS = ("URL", "SPOOL", "OUTBOX")
"""What LONGBOAT may have in the settings."""


class DjangoLongboat(Longboat):
    """A Longboat app whose broker LONGBOAT_URL names, else LONGBOAT["URL"] of the settings, else it is Django's database.

    LONGBOAT["SPOOL"] is the URL of a spool, LONGBOAT["OUTBOX"] the alias of the database that has the outbox. All of these
    are read when the app is first used, not before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._chosen: Url | None = None
        self.add_middleware(AsInRequest())
        self.add_middleware(WithCommit(self.stores_with))

    @property
    def url(self) -> str:
        """The broker's. Raises ImproperlyConfigured for settings that make no sense."""
        url = self._chosen or os.environ.get("LONGBOAT_URL") or option("URL", DJANGO)
        return Url(settled(database_url() if url == DJANGO else url))

    @url.setter
    def url(self, url: str) -> None:
        self._chosen = Url(settled(url))

    @property
    def spool(self) -> Url | None:
        """Raises ImproperlyConfigured and ConfigError for settings that make no sense."""
        return spool_url(option("SPOOL", "") or None)

    @property
    def outbox(self) -> Connect | None:
        """Raises ImproperlyConfigured for settings that make no sense."""
        return opener(self.outbox_alias) if self.outbox_alias else None

    @property
    def outbox_alias(self) -> str:
        """Of the database that has the outbox; empty if there is none, as where Django's database keeps the jobs itself.

        Raises ImproperlyConfigured.
        """
        alias = option("OUTBOX", "")
        if alias and alias not in connections:
            raise ImproperlyConfigured(
                f"LONGBOAT['OUTBOX'] is {alias!r}; it must be an alias of DATABASES, such as 'default'"
            )
        return "" if alias and self.same_database(connections[DEFAULT_DB_ALIAS]) else alias

    def watch(self, changed: Callable[[], object]) -> None:
        """As runserver does."""
        from longboat.contrib.django.reload import watch

        watch(changed)

    def same_database(self, connection: Any) -> bool:
        """Whether jobs are kept in the database of this connection of Django's, so that they can go with its transaction."""
        return keeps_jobs(connection, self)

    def stores_with(self, connection: Any) -> bool:
        """Whether the transaction of this connection of Django's can store jobs, there or in its outbox."""
        if self.client.kept.outbox is not None:
            return bool(connection.alias == self.outbox_alias)
        return self.same_database(connection) and Capability.TRANSACTIONAL in self.broker.capabilities


def option(name: str, usual: str) -> str:
    """What LONGBOAT says in the settings. Raises ImproperlyConfigured."""
    given = getattr(settings, "LONGBOAT", {})
    if not isinstance(given, dict) or given.keys() - set(OPTIONS):
        raise ImproperlyConfigured(
            f"LONGBOAT must be a dict with {', '.join(map(repr, OPTIONS))} only, such as {{'URL': 'redis://localhost:6379'}}"
        )
    value = given.get(name) or usual
    if not isinstance(value, str):
        raise ImproperlyConfigured(f"LONGBOAT[{name!r}] is {type(value).__name__}; it must be a text")
    return value


app = DjangoLongboat()
"""The process's one app. `LONGBOAT = {"URL": "redis://localhost:6379"}` in the settings names its broker."""
