"""Sets Django up once for the tests of this folder, without a trace in the environment of other tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext

import django
import pytest

SETTINGS = "tests.contrib.django.project.settings"

with pytest.MonkeyPatch.context() as patch:
    patch.setitem(os.environ, "DJANGO_SETTINGS_MODULE", SETTINGS)
    django.setup()


@pytest.fixture(autouse=True)
def unblocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """pytest-django, where it is installed, keeps tests from the database. The app is closed for the next test."""
    from longboat.contrib.django import app

    there = request.config.pluginmanager.has_plugin("django")
    with request.getfixturevalue("django_db_blocker").unblock() if there else nullcontext():
        yield
    app.close()


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A job that waits, in a project with a database."""
    from django.core.management import call_command

    from longboat.contrib.django import app
    from tests.contrib.django.shop.tasks import confirm

    monkeypatch.setenv("LONGBOAT_URL", "memory://")
    call_command("migrate", run_syncdb=True, verbosity=0)
    with app:
        yield confirm.enqueue(1).id


@pytest.fixture
def dead(job: str) -> str:  # noqa: ARG001  # there is one more
    """A job that has failed."""
    from longboat.contrib.django import app
    from tests.contrib.django.shop.tasks import refuse

    failed = refuse.enqueue("secret")
    with app.worker(burst=True) as worker:
        worker.finished.wait(30)
    return failed.id


@pytest.fixture(scope="session")
def django_db_setup() -> None:
    """Instead of pytest-django's, which puts a database in memory in the place of the project's, for all tests to come."""
