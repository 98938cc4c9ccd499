"""URLs of PostgreSQL: what is refused before anything is reached."""

from __future__ import annotations

import pytest

from longboat.connect import connect
from longboat.errors import ConfigError

pytest.importorskip("psycopg")


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


def test_options_of_libpq_are_passed_on() -> None:
    broker = connect("postgres://me@host/database?sslmode=verify-full&application_name=my%20shop&schema=shop")
    store = broker._store  # type: ignore[attr-defined]  # typeshed leaves it out
    assert store.text("@.jobs") == b'"shop".jobs'
    assert "application_name=my%20shop" in store.pool._url
    assert "schema" not in store.pool._url
    broker.close()
