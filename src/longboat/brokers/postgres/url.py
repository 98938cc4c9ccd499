"""postgresql://user:password@host/database: a PostgreSQL server; other options are libpq's (sslmode=…).

?schema=longboat          where its tables are
?timeout=2s               how long a call may take
?pgbouncer=1              keep no state in a session
"""

from __future__ import annotations

from longboat.brokers.postgres.broker import DEFAULT_SCHEMA, PostgresBroker
from longboat.core import urls
from longboat.errors import ConfigError


def connect(url: str, options: dict[str, str]) -> PostgresBroker:
    timeout = urls.duration(url, options, "timeout", "2s")
    schema = options.pop("schema", DEFAULT_SCHEMA)
    if not 0 < len(schema) < 64 or schema.startswith("pg_") or "%" in schema or not schema.isprintable():
        raise ConfigError(f"{urls.shown(url)!r}: schema must be a name of 1 to 63 characters without %, not {schema!r}")
    pgbouncer = urls.choice(url, options, "pgbouncer", "0", "1")
    address, where = urls.rest(url, options), urls.where(url)
    try:
        PostgresBroker.check(address)
    except ValueError as error:
        raise ConfigError(f"{where!r}: {error}") from None
    return PostgresBroker(address, schema=schema, timeout=timeout, pgbouncer=pgbouncer, where=where)
