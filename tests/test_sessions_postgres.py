"""As test_sessions.py, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from longboat import State
from longboat.errors import ConfigError
from tests.client.test_relay import drained, shop
from tests.rigs.servers.postgres import PostgresServer, available
from tests.rigs.sessions import ORDERS, POSTGRES
from tests.test_sessions import in_the_transaction, killed_again_and_again, tasks

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as made:
        yield made


@pytest.mark.parametrize("kind", POSTGRES)
def test_jobs_are_in_the_transaction_on_postgresql(server: PostgresServer, kind: str) -> None:
    server.query(f"DROP TABLE IF EXISTS orders; {ORDERS}")
    schema = f"s{list(POSTGRES).index(kind)}"
    with tasks(f"{server.url}?schema={schema}") as app, POSTGRES[kind](server.url) as program:
        app.broker.inspector.counts()  # makes the tables
        in_the_transaction(app, program)


@pytest.mark.skipif("asyncpg" not in POSTGRES, reason="asyncpg is not installed")
@pytest.mark.parametrize("kind", ["psycopg's AsyncConnection", "asyncpg"])
def test_an_awaited_connection_must_be_in_a_transaction(server: PostgresServer, kind: str) -> None:
    async def left(session: Any) -> None:
        await session.execute("ROLLBACK")
        if hasattr(session, "set_autocommit"):
            await session.set_autocommit(True)

    with tasks(server.url) as app, POSTGRES[kind](server.url) as program:
        program.call(left, program.session)
        with pytest.raises(ConfigError, match=r"within `async with connection\.transaction\(\)`"):
            program.enqueue(app.named("send"), 1)


def test_a_killed_program_leaves_a_job_for_each_row_on_postgresql(server: PostgresServer) -> None:
    server.query(f"DROP TABLE IF EXISTS orders; {ORDERS}")
    with tasks(f"{server.url}?schema=killed") as app:
        app.broker.inspector.counts()
        killed_again_and_again(app, server.url, "Session")


@pytest.mark.parametrize("kind", POSTGRES)
def test_an_outbox_is_in_the_transaction_too(server: PostgresServer, kind: str) -> None:
    """The broker is elsewhere, and has the job after the commit."""
    with shop(lambda: psycopg.connect(server.url)) as app, POSTGRES[kind](server.url) as program:
        lost = program.enqueue(app.named("send"), 1)
        program.rollback()
        handle = program.enqueue(app.named("send"), 2)
        drained(app)
        assert app.broker.inspector.counts() == {}, "delivered before the commit"
        program.commit()
        drained(app)
        assert [view and view.id for view in app.broker.inspector.find([handle.id, lost.id])] == [handle.id, None]


def test_a_look_into_an_outbox_leaves_no_transaction_to_a_pool(server: PostgresServer) -> None:
    left: list[int] = []

    class Connection(psycopg.Connection[Any]):
        def close(self) -> None:
            left.append(self.info.transaction_status)
            super().close()

    with shop(lambda: Connection.connect(server.url)) as app, psycopg.connect(server.url) as program:
        handle = app.named("send").using(session=program).enqueue(1)
        program.commit()
        assert handle.status() is State.WAITING
    assert set(left) == {TransactionStatus.IDLE}
