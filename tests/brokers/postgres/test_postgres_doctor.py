"""What the doctor says of a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from longboat.brokers.postgres import doctor
from longboat.connect import connect
from longboat.contract.optional import Report, diagnosis
from tests.rigs.servers.postgres import PostgresServer, available
from tests.rigs.servers.process import HOST, free_ports, until

MISSING = available()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres"), options=["max_prepared_transactions = 2"]) as made:
        yield made


def looked(url: str) -> Report:
    with closing(connect(url)) as broker:
        report = diagnosis(broker)
    assert report is not None
    return report


def test_a_good_server_gets_facts_and_no_findings(server: PostgresServer) -> None:
    report = looked(server.url)
    assert report.findings == []
    assert report.facts["server"].startswith("PostgreSQL ")
    assert report.facts["transactions"] == "none open for longer than 120 s"
    assert server.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'longboat'") == "0", "it has made something"


@pytest.mark.parametrize("prepared", [False, True])
def test_an_old_transaction_is_told(server: PostgresServer, monkeypatch: pytest.MonkeyPatch, prepared: bool) -> None:
    monkeypatch.setattr(doctor, "OLD", 0.2)
    with (
        closing(psycopg.connect(server.url, application_name="report")) as other,
        closing(psycopg.connect(server.url)) as idle,
    ):
        idle.execute("SELECT 1")  # it holds nothing back
        other.execute("CREATE TABLE held (n int)")
        if prepared:
            other.execute("PREPARE TRANSACTION 'left over'")
        until(lambda: len(looked(server.url).findings) == 1, "it is told once it is old", 5.0)
        (finding,) = looked(server.url).findings
        assert not finding.serious
        assert ("left over" if prepared else "(report), idle in transaction") in finding.what
        server.query(finding.advice.split(": ", 1)[1].split(". Let", 1)[0])
        until(lambda: looked(server.url).findings == [], "it has ended", 5.0)


def test_what_a_role_cannot_see_is_said(server: PostgresServer) -> None:
    server.query("CREATE ROLE few LOGIN")
    assert "pg_read_all_stats" in looked(server.url.replace("longboat@", "few@")).facts["transactions"]


def test_nobody_there() -> None:
    (finding,) = looked(f"postgresql://{HOST}:{free_ports(1)[0]}/x").findings
    assert finding.serious
    assert "Start it" in finding.advice
