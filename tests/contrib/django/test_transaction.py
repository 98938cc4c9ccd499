"""Jobs of Django's own transaction, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from longboat import Longboat
from longboat.contrib.django.apps import named_broker, one_writer
from tests.contrib.django.conftest import SETTINGS
from tests.rigs import harnesses
from tests.rigs.servers import postgres
from tests.rigs.servers.process import HOST

ROOT = Path(__file__).parents[3]
PROGRAM = """
import django; django.setup()
from django.db import transaction
from longboat.contrib.django import app
from tests.contrib.django.shop.models import Order
from tests.contrib.django.shop.tasks import confirm

class Undone(Exception): ...

for name, undo in (("Ann", False), ("Bob", True)):
    try:
        with transaction.atomic():
            order = Order.objects.create(buyer=name)
            made = [confirm.enqueue(order.pk), *confirm.enqueue_many([(order.pk,), (order.pk,)])]
            assert app.broker.inspector.find([job.id for job in made]) == [None] * 3, "seen before the commit"
            if undo:
                raise Undone
    except Undone:
        pass
confirm.enqueue(order_id=1)
print(sum(app.broker.inspector.counts().values()))
"""


Environment = tuple[dict[str, str], str]


@pytest.fixture
def sqlite(tmp_path: Path) -> Environment:
    """Of a project: its variables, and where its jobs are kept."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LONGBOAT_")}
    env |= {"DJANGO_SETTINGS_MODULE": SETTINGS, "PROJECT_FOLDER": str(tmp_path)}
    return env, f"sqlite:///{tmp_path}/db.sqlite3"


@pytest.fixture
def postgresql(sqlite: Environment) -> Environment:
    """The same on a real server."""
    if (why := postgres.available()) is not None:
        pytest.skip(why)
    server = harnesses._postgres_server()
    server.query("DROP DATABASE IF EXISTS shop WITH (FORCE)")
    server.query("CREATE DATABASE shop")
    database: dict[str, Any] = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "longboat"}
    database |= {"HOST": HOST, "PORT": server.port}
    env = sqlite[0] | {"PROJECT_SETTINGS": json.dumps({"DATABASES": {"default": database}})}
    return env, server.url.replace("/postgres", "/shop")


def run(env: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_what_is_enqueued_in_a_transaction_is_stored_by_its_commit(vendor: str, request: pytest.FixtureRequest) -> None:
    env, url = request.getfixturevalue(vendor)
    run(env, "-m", "django", "migrate", "--run-syncdb", "-v0")
    assert run(env, "-c", PROGRAM).strip() == "4"
    with Longboat(url) as app:
        assert sum(app.broker.inspector.counts().values()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_jobs_of_tests_are_in_the_database_of_tests(vendor: str, request: pytest.FixtureRequest) -> None:
    env, url = request.getfixturevalue(vendor)
    run(env, "-m", "django", "test", "tests.contrib.django.shop")
    with Longboat(url) as app:
        assert app.broker.inspector.counts() == {}


def test_a_database_that_cannot_keep_jobs_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGBOAT_URL", raising=False)
    assert named_broker() == []
    mysql = SimpleNamespace(vendor="mysql", settings_dict={"ENGINE": "django.db.backends.mysql"})
    monkeypatch.setattr("longboat.contrib.django.database.connections", {"default": mysql})
    (found,) = named_broker()
    assert found.id == "longboat.E001"
    assert "mysql" in found.msg


def test_a_sqlite_database_whose_transactions_may_fail_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGBOAT_URL", raising=False)
    assert [each.id for each in one_writer(databases=["default"])] == ["longboat.W001"]
    assert one_writer() == []
    monkeypatch.setenv("LONGBOAT_URL", "redis://localhost")
    assert one_writer(databases=["default"]) == []


def test_transactions_that_begin_as_writers_are_known_before_django_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGBOAT_URL", raising=False)
    connection = connections["default"]
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"transaction_mode": "IMMEDIATE"})
    monkeypatch.delattr(connection, "transaction_mode", raising=False)  # set by its first connect
    assert one_writer(databases=["default"]) == []


def test_no_migration_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("makemigrations", check=True, dry_run=True)
    assert "No changes" in capsys.readouterr().out
