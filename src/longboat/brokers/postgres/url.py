"""postgresql://user:password@host,host/database: a PostgreSQL server; other options are libpq's (sslmode=…).

?ssl_ca=ca.pem            the authority that signed the server's certificate, which is then checked
?ssl_cert=… &ssl_key=…    this client's certificate
?schema=longboat          where its tables are
?timeout=2s               how long a call may take
?pgbouncer=1              keep no state in a session
"""

from __future__ import annotations

from longboat.brokers.postgres.broker import DEFAULT_SCHEMA, PostgresBroker
from longboat.core import urls
from longboat.errors import ConfigError

TLS = {"ssl_ca": "sslrootcert", "ssl_cert": "sslcert", "ssl_key": "sslkey"}
"""Options by the names that they have on every broker, and libpq's for the same."""


def connect(url: str, options: dict[str, str]) -> PostgresBroker:
    timeout = urls.duration(url, options, "timeout", "2s")
    schema = options.pop("schema", DEFAULT_SCHEMA)
    if not 0 < len(schema) < 64 or schema.startswith("pg_") or "%" in schema or not schema.isprintable():
        raise ConfigError(f"{urls.shown(url)!r}: schema must be a name of 1 to 63 characters without %, not {schema!r}")
    pgbouncer = urls.choice(url, options, "pgbouncer", "0", "1")
    for ours, theirs in TLS.items():
        if ours in options:
            options[theirs] = options.pop(ours)
    if "sslrootcert" in options:
        options.setdefault("sslmode", "verify-full")
    address, where = urls.rest(url, options), urls.where(url)
    try:
        PostgresBroker.check(address)
    except ValueError as error:
        raise ConfigError(f"{where!r}: {urls.without_secrets(str(error), url)}") from None
    return PostgresBroker(address, schema=schema, timeout=timeout, pgbouncer=pgbouncer, where=where)
