"""URLs of PostgreSQL: what is refused before anything is reached."""

from __future__ import annotations

import pytest

from longboat.connect import connect
from longboat.errors import BrokerError, BrokerUnavailable, ConfigError

psycopg = pytest.importorskip("psycopg")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("schema=", "schema"),
        ("schema=pg_mine", "schema"),
        ("schema=a%25b", "schema"),
        ("timeout=0", "timeout"),
        ("timeout=soon", "timeout"),
        ("pgbouncer=yes", "pgbouncer"),
        ("colour=red", "colour"),
    ],
)
def test_options_that_are_refused(query: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        connect(f"postgresql://me:secret@host/database?{query}")
    assert "secret" not in str(caught.value)


def test_what_libpq_says_of_a_url_shows_no_secret() -> None:
    for url in ("postgresql://me:hidden@host/db?port=hidden&x=hidden", "postgresql://me:hidden@host/db?sslpasword=hidden"):
        with pytest.raises(ConfigError) as told:
            connect(url)
        assert "hidden" not in str(told.value).replace("port=hidden", "").replace('port "hidden"', "")


@pytest.mark.parametrize(
    ("url", "passed"),
    [
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db?host=%2Frun%2Fpostgresql"),
        ("postgresql://a,b:5433/db", "postgresql://a,b:5433/db"),
        ("postgresql://h/db?ssl_ca=ca", "postgresql://h/db?sslrootcert=ca&sslmode=verify-full"),
        ("postgresql://h/db?ssl_ca=ca&sslmode=verify-ca", "postgresql://h/db?sslmode=verify-ca&sslrootcert=ca"),
        ("postgresql://h/db?ssl_cert=c&ssl_key=k", "postgresql://h/db?sslcert=c&sslkey=k"),
    ],
)
def test_what_libpq_is_given(url: str, passed: str) -> None:
    broker = connect(url)
    assert broker._store.pool._url == passed  # type: ignore[attr-defined]  # its own
    broker.close()


def test_options_of_libpq_are_passed_on() -> None:
    broker = connect("postgres://me@host/database?sslmode=verify-full&application_name=my%20shop&schema=shop")
    store = broker._store  # type: ignore[attr-defined]  # what this adapter has of its own
    assert store.text("@.jobs") == b'"shop".jobs'
    assert "application_name=my%20shop" in store.pool._url
    assert "schema" not in store.pool._url
    broker.close()


def test_a_limit_of_the_server_is_no_outage() -> None:
    """Waiting is no use: a worker that took it for an outage would wait for ever."""
    from longboat.brokers.postgres.connections import translated

    assert type(translated(psycopg.errors.ProgramLimitExceeded("index row size 5760"), "postgresql://h")) is BrokerError
    assert type(translated(psycopg.errors.AdminShutdown("over"), "postgresql://h")) is BrokerUnavailable
    assert type(translated(psycopg.OperationalError("refused"), "postgresql://h")) is BrokerUnavailable
