"""longboat://django: the project's default database, as a broker's URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from django.db import connections

from longboat.connect import connect as connect_to
from longboat.contract.broker import Broker
from longboat.contrib.django.project import set_up
from longboat.errors import ConfigError

DJANGO = "longboat://django"

_DJANGOS = ("assume_role", "client_encoding", "isolation_level", "pool", "prepare_threshold", "server_side_binding")
"""OPTIONS of a PostgreSQL database that libpq does not know."""


def connect(url: str, options: dict[str, str]) -> Broker:
    """The broker in the default database of this process's Django project. Raises ConfigError."""
    if url.partition("?")[0] != DJANGO or options:
        raise ConfigError(f"{url!r}: write {DJANGO}, which has no options")
    set_up()
    return connect_to(database_url())


def database_url() -> str:
    """The URL of the broker in the default database; of a test's own one while tests run. Raises ConfigError.

    PostgreSQL: tables in the schema `longboat` of that database. SQLite: tables longboat_… in that file. A database in
    memory, as tests have: the process's memory.
    """
    connection = connections["default"]
    given = connection.settings_dict
    if connection.vendor == "postgresql":
        return _postgres(given)
    if connection.vendor == "sqlite":
        if connection.is_in_memory_db():
            return "memory://"
        return f"sqlite:///{quote(str(Path(given['NAME']).absolute()))}"
    raise ConfigError(
        f"jobs cannot be kept in a database of {given['ENGINE']}, only in PostgreSQL and SQLite.\n"
        "Name a broker in the settings, such as LONGBOAT = {'URL': 'redis://localhost:6379'}."
    )


def _postgres(given: dict[str, Any]) -> str:
    options = {
        name: value
        for name, value in given.get("OPTIONS", {}).items()
        if isinstance(value, str | int) and name not in _DJANGOS
    }
    options |= {name.lower(): given[name] for name in ("HOST", "PORT") if given[name]}  # a host may be a directory
    user = quote(given["USER"], safe="")
    if given["PASSWORD"]:
        user += f":{quote(given['PASSWORD'], safe='')}"
    address = f"{user}@/{quote(given['NAME'] or '', safe='')}" if user else f"/{quote(given['NAME'] or '', safe='')}"
    return f"postgresql://{address}{'?' if options else ''}{urlencode(options, quote_via=quote)}"
