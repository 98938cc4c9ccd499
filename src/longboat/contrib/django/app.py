"""The app that a Django project has, made from its settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from longboat.app import Longboat
from longboat.connect import settled
from longboat.contrib.django.connections import AsInRequest
from longboat.contrib.django.database import DJANGO, database_url
from longboat.contrib.django.transaction import WithCommit, keeps_jobs
from longboat.core.urls import Url

OPTIONS = ("URL",)
"""What LONGBOAT may have in the settings."""


class DjangoLongboat(Longboat):
    """A Longboat app whose broker LONGBOAT_URL names, else LONGBOAT["URL"] of the settings, else it is Django's database.

    All of these are read when the app is first used, not before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._chosen: Url | None = None
        self.add_middleware(AsInRequest())
        self.add_middleware(WithCommit(self))

    @property
    def url(self) -> str:
        """The broker's. Raises ImproperlyConfigured for settings that make no sense."""
        url = self._chosen or os.environ.get("LONGBOAT_URL") or option("URL", DJANGO)
        return Url(settled(database_url() if url == DJANGO else url))

    @url.setter
    def url(self, url: str) -> None:
        self._chosen = Url(settled(url))

    def watch(self, changed: Callable[[], object]) -> None:
        """As runserver does."""
        from longboat.contrib.django.reload import watch

        watch(changed)

    def same_database(self, connection: Any) -> bool:
        """Whether jobs are kept in the database of this connection of Django's, so that they can go with its transaction."""
        return keeps_jobs(connection, self)


def option(name: str, usual: str) -> str:
    """What LONGBOAT says in the settings. Raises ImproperlyConfigured."""
    given = getattr(settings, "LONGBOAT", {})
    if not isinstance(given, dict) or given.keys() - set(OPTIONS):
        raise ImproperlyConfigured(
            f"LONGBOAT must be a dict with {' and '.join(map(repr, OPTIONS))} only, such as {{'URL': 'redis://localhost:6379'}}"
        )
    value = given.get(name) or usual
    if not isinstance(value, str):
        raise ImproperlyConfigured(f"LONGBOAT[{name!r}] is {type(value).__name__}; it must be a text")
    return value


app = DjangoLongboat()
"""The process's one app. `LONGBOAT = {"URL": "redis://localhost:6379"}` in the settings names its broker."""
