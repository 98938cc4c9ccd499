"""Database connections around jobs, on a real PostgreSQL; and what else a request starts with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings

from longboat import Longboat
from longboat.contrib.django import app
from longboat.contrib.django.connections import AsInRequest
from longboat.errors import BadArguments, ConfigError, JobFailed
from tests.contrib.django.conftest import SETTINGS
from tests.contrib.django.shop import tasks
from tests.contrib.django.shop.models import Order
from tests.rigs import harnesses
from tests.rigs.servers import postgres
from tests.rigs.servers.process import HOST
from tests.rigs.waiting import until

ROOT = Path(__file__).parents[3]
TASKS = "tests.contrib.django.shop.tasks"
OTHERS = "FROM pg_stat_activity WHERE datname = 'shop'"


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Longboat]]:
    """A project on a real server, and its worker; and an app that sends it jobs. Connections last as the parameter says."""
    if (why := postgres.available()) is not None:
        pytest.skip(why)
    server = harnesses._postgres_server()
    server.query("DROP DATABASE IF EXISTS shop WITH (FORCE)")
    server.query("CREATE DATABASE shop")
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "longboat", "CONN_MAX_AGE": request.param}
    database |= {"HOST": HOST, "PORT": server.port}
    env = {name: value for name, value in os.environ.items() if not name.startswith("LONGBOAT_")}
    env |= {"DJANGO_SETTINGS_MODULE": SETTINGS, "PROJECT_FOLDER": str(tmp_path)}
    env |= {"PROJECT_SETTINGS": json.dumps({"DATABASES": {"default": database}})}
    python = [sys.executable, "-m"]
    subprocess.run([*python, "django", "migrate", "--run-syncdb", "-v0"], cwd=ROOT, env=env, check=True, timeout=60)
    command = [*python, "longboat", "worker", "--threads", "1", "--processes", "1", "--concurrency", "1"]
    worker = subprocess.Popen(command, cwd=ROOT, env=env)
    client = Longboat(server.url.replace("/postgres", "/shop"))
    try:
        yield server, client
    finally:
        client.close()
        worker.terminate()
        worker.wait(30)


def ask(client: Longboat, name: str) -> Any:
    job = client.send(f"{TASKS}.{name}")
    result = job.result("30s")
    assert job.view().attempts == 1
    return result


@pytest.mark.slow
@pytest.mark.parametrize("server", [0, None], indirect=True, ids=["closed", "kept"])
def test_connections_last_as_the_settings_say_and_jobs_work_after_the_server_has_dropped_all(
    server: tuple[Any, Longboat], request: pytest.FixtureRequest
) -> None:
    postgres_server, client = server
    kept = "kept" in request.node.name
    executors = ("backend", "abackend", "backend_apart")
    first = {name: ask(client, name) for name in executors}
    assert {name: ask(client, name) == first[name] for name in executors} == dict.fromkeys(executors, kept)
    before = {name: ask(client, name) for name in executors}
    dropped = postgres_server.query(f"SELECT pid {OTHERS}").split()
    postgres_server.query(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    until(lambda: not {*dropped} & {*postgres_server.query(f"SELECT pid {OTHERS}").split()})
    after = {name: ask(client, name) for name in executors}
    assert not set(before.values()) & set(after.values())


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker in this process, and a database."""
    from django.core.management import call_command

    monkeypatch.setenv("LONGBOAT_URL", "memory://")
    call_command("migrate", run_syncdb=True, verbosity=0)
    with app, app.worker(threads=1):
        yield


@pytest.mark.usefixtures("here")
def test_a_job_has_the_languages_and_the_time_zone_of_the_settings() -> None:
    for task in (tasks.language, tasks.language, tasks.alanguage, tasks.alanguage):
        assert tuple(task.enqueue().result("10s")) == (settings.LANGUAGE_CODE, settings.TIME_ZONE)


@pytest.mark.usefixtures("here")
def test_the_log_of_queries_begins_anew_with_each_job() -> None:
    with override_settings(DEBUG=True):
        assert [tasks.queries.enqueue().result("10s") for _ in range(3)] == [1, 1, 1]


def test_a_transaction_around_a_job_that_runs_in_its_thread_is_left_alone() -> None:
    from django.db import transaction

    with transaction.atomic():
        made = Order.objects.create(buyer="Ann")
        with AsInRequest().around(None):  # type: ignore[arg-type]  # it does not look
            assert Order.objects.get(pk=made.pk).buyer == "Ann"
        assert connection.in_atomic_block
        transaction.set_rollback(True)
    assert not Order.objects.filter(pk=made.pk).exists()


@pytest.mark.usefixtures("here")
def test_coroutines_do_not_wait_for_each_others_queries() -> None:
    tasks.go_on.clear()
    stuck = tasks.stuck.enqueue()
    try:
        with pytest.raises(JobFailed, match="timeout"):
            stuck.result("10s")  # its thread is still busy
        for each in [tasks.meet.enqueue() for _ in range(2)]:
            each.result("10s")
    finally:
        tasks.go_on.set()


@pytest.mark.parametrize("wrap", [lambda order: order, lambda order: {"of": [order]}])
def test_a_row_is_refused_with_the_advice_to_pass_its_key(wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_URL", "memory://")
    with app, pytest.raises(BadArguments, match="pass its"):
        tasks.about.enqueue(wrap(Order(buyer="Ann", pk=1)))


def test_a_parameter_that_is_a_row_is_refused_where_the_task_is_defined() -> None:
    def confirm(order: Order) -> None: ...

    with pytest.raises(ConfigError, match="such as its id"):
        app.task(name="rows.confirm")(confirm)
